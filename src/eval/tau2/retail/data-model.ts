/** The shop's database: products with their variants, users with what they pay with, orders. */
import {
  bool,
  dictOf,
  type Fields,
  float,
  listOf,
  literal,
  Model,
  modelOf,
  nullable,
  optionalField,
  str,
  unionOf,
} from "../../../python/models.js";
import type { PyValue } from "../../../python/types.js";

export class Variant extends Model {
  declare options: Map<string, string>;
  declare available: boolean;
  declare price: number;
  static override fields: Fields = { item_id: str, options: dictOf(str, str), available: bool, price: float };
}

export class Product extends Model {
  declare name: string;
  declare product_id: string;
  declare variants: Map<string, Variant>;
  static override fields: Fields = { name: str, product_id: str, variants: dictOf(str, modelOf(Variant)) };
}

export class UserName extends Model {
  declare first_name: string;
  declare last_name: string;
  static override fields: Fields = { first_name: str, last_name: str };
}

export class UserAddress extends Model {
  declare zip: string;
  static override fields: Fields = {
    address1: str,
    address2: str,
    city: str,
    country: str,
    state: str,
    zip: str,
  };
}

export class CreditCard extends Model {
  static override fields: Fields = { source: literal("credit_card"), id: str, brand: str, last_four: str };
}

export class Paypal extends Model {
  static override fields: Fields = { source: literal("paypal"), id: str };
}

export class GiftCard extends Model {
  declare balance: number;
  static override fields: Fields = { source: literal("gift_card"), id: str, balance: float };
}

export type PaymentMethod = CreditCard | GiftCard | Paypal;

export class User extends Model {
  declare user_id: string;
  declare name: UserName;
  declare address: UserAddress;
  declare email: string;
  declare payment_methods: Map<string, PaymentMethod>;
  static override fields: Fields = {
    user_id: str,
    name: modelOf(UserName),
    address: modelOf(UserAddress),
    email: str,
    payment_methods: dictOf(str, unionOf(CreditCard, GiftCard, Paypal)),
    orders: listOf(str),
  };
}

export class OrderFullfilment extends Model {
  static override fields: Fields = { tracking_id: listOf(str), item_ids: listOf(str) };
}

export class OrderItem extends Model {
  declare product_id: string;
  declare item_id: string;
  declare price: number;
  declare options: Map<string, string>;
  static override fields: Fields = {
    name: str,
    product_id: str,
    item_id: str,
    price: float,
    options: dictOf(str, str),
  };
}

export class OrderPayment extends Model {
  declare transaction_type: "payment" | "refund";
  declare amount: number;
  declare payment_method_id: string;
  static override fields: Fields = {
    transaction_type: literal("payment", "refund"),
    amount: float,
    payment_method_id: str,
  };
}

export class Order extends Model {
  declare user_id: string;
  declare address: UserAddress;
  declare items: OrderItem[];
  declare status: string;
  declare payment_history: OrderPayment[];
  // What changes of an order assign, unchecked.
  declare cancel_reason: PyValue;
  declare exchange_items: PyValue;
  declare exchange_new_items: PyValue;
  declare exchange_payment_method_id: PyValue;
  declare exchange_price_difference: PyValue;
  declare return_items: PyValue;
  declare return_payment_method_id: PyValue;
  static override fields: Fields = {
    order_id: str,
    user_id: str,
    address: modelOf(UserAddress),
    items: listOf(modelOf(OrderItem)),
    status: literal(
      ...["processed", "pending", "pending (item modified)", "delivered", "cancelled"],
      ...["exchange requested", "return requested"],
    ),
    fulfillments: listOf(modelOf(OrderFullfilment)),
    payment_history: listOf(modelOf(OrderPayment)),
    cancel_reason: optionalField(nullable(literal("no longer needed", "ordered by mistake"))),
    exchange_items: optionalField(nullable(listOf(str))),
    exchange_new_items: optionalField(nullable(listOf(str))),
    exchange_payment_method_id: optionalField(nullable(str)),
    exchange_price_difference: optionalField(nullable(float)),
    return_items: optionalField(nullable(listOf(str))),
    return_payment_method_id: optionalField(nullable(str)),
  };
}

export class RetailDB extends Model {
  declare products: Map<string, Product>;
  declare users: Map<string, User>;
  declare orders: Map<string, Order>;
  static override extra = "forbid" as const;
  static override fields: Fields = {
    products: dictOf(str, modelOf(Product)),
    users: dictOf(str, modelOf(User)),
    orders: dictOf(str, modelOf(Order)),
  };
}
