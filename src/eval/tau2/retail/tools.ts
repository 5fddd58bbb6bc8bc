/**
 * The shop agent's tools. Arguments are what the agent wrote: each operation that the original does on one has its counterpart in python/operators.
 *
 * Kept on purpose: changing items gives each of them the last one's price and options, and pays the difference unrounded while balances are rounded.
 */
import { dumps } from "../../../python/json.js";
import { make } from "../../../python/models.js";
import {
  iterate,
  len,
  noAttribute,
  requireHashable,
  sorted,
  strMethodOf,
} from "../../../python/operators.js";
import { round, str } from "../../../python/repr.js";
import { equals, type PyDict, type PyValue, sameOrEqual, valueError } from "../../../python/types.js";
import { calculate } from "../calculate.js";
import { type ToolkitClass, tool } from "../toolkit.js";
import {
  GiftCard,
  type Order,
  type OrderItem,
  OrderPayment,
  type PaymentMethod,
  type RetailDB,
  type User,
  UserAddress,
  type Variant,
} from "./data-model.js";

function record<T extends PyValue>(table: Map<string, T>, id: PyValue, kind: string): T {
  requireHashable(id);
  const found = table.get(id as string);
  if (found === undefined) throw valueError(`${kind} not found`);
  return found;
}

const getOrder = (db: RetailDB, id: PyValue): Order => record(db.orders, id, "Order");
const getUser = (db: RetailDB, id: PyValue): User => record(db.users, id, "User");
const getProduct = (db: RetailDB, id: PyValue) => record(db.products, id, "Product");

/** A payment method of the user whose order it is. */
function paymentMethod(db: RetailDB, order: Order, id: PyValue): PaymentMethod {
  return record(getUser(db, order.user_id).payment_methods, id, "Payment method");
}

function variantOf(db: RetailDB, productId: string, id: PyValue): Variant {
  return record(getProduct(db, productId).variants, id, "Variant");
}

/** Adds to a gift card, or takes from it where `amount` is negative; other methods have no balance. */
function credit(method: PaymentMethod, amount: number): void {
  if (method instanceof GiftCard) method.balance = round(method.balance + amount, 2);
}

/** No gift card pays more than it holds. */
function requireBalance(method: PaymentMethod, amount: number, what: string): void {
  if (method instanceof GiftCard && method.balance < amount)
    throw valueError(`Insufficient gift card balance to pay for the ${what}`);
}

/** Each of the ids as often as it is given is among the order's items; `missing` is what is said of one that is not. */
function requireItems(order: Order, ids: PyValue, missing: (id: PyValue) => string): void {
  for (const id of iterate(ids)) {
    const ordered = order.items.filter((item) => equals(item.item_id, id)).length;
    if (countIn(ids, id) > ordered) throw valueError(missing(id));
  }
}

/** ids.count(id), which lists and texts have. */
function countIn(ids: PyValue, id: PyValue): number {
  if (typeof ids === "string") return ids.split(id as string).length - 1;
  if (!Array.isArray(ids)) throw noAttribute(ids, "count");
  return ids.filter((one) => sameOrEqual(one, id)).length;
}

/** The order's items with their new variants, in pairs, and what they cost more. */
function exchanges(db: RetailDB, order: Order, ids: PyValue, newIds: PyValue, refuseSame: boolean) {
  const replacements = iterate(newIds);
  const pairs: { id: PyValue; newId: PyValue; variant: Variant }[] = [];
  let more = 0;
  for (const [i, id] of iterate(ids).entries()) {
    const newId = replacements[i]!;
    if (refuseSame && equals(id, newId))
      throw valueError("The new item id should be different from the old item id");
    const item = itemOf(order, id);
    const variant = variantOf(db, item.product_id, newId);
    if (!variant.available) throw valueError(`New item ${str(newId)} not found or available`);
    more += variant.price - item.price;
    pairs.push({ id, newId, variant });
  }
  return { pairs, more };
}

function itemOf(order: Order, id: PyValue): OrderItem {
  const item = order.items.find(({ item_id }) => equals(item_id, id));
  if (item === undefined) throw valueError(`Item ${str(id)} not found`);
  return item;
}

function requirePending(pending: boolean): void {
  if (!pending) throw valueError("Non-pending order cannot be modified");
}

function payment(type: "payment" | "refund", amount: number, id: PyValue): OrderPayment {
  return make(OrderPayment, { transaction_type: type, amount, payment_method_id: id });
}

function cancelPendingOrder(db: RetailDB, id: PyValue, reason: PyValue): PyValue {
  const order = getOrder(db, id);
  if (order.status !== "pending") throw valueError("Non-pending order cannot be cancelled");
  requireHashable(reason);
  if (reason !== "no longer needed" && reason !== "ordered by mistake") throw valueError("Invalid reason");
  const refunds = order.payment_history.map(({ amount, payment_method_id }) => {
    const refund = payment("refund", amount, payment_method_id);
    credit(paymentMethod(db, order, payment_method_id), amount);
    return refund;
  });
  order.status = "cancelled";
  order.cancel_reason = reason;
  order.payment_history.push(...refunds);
  return order;
}

function exchangeDeliveredItems(
  db: RetailDB,
  id: PyValue,
  ids: PyValue,
  newIds: PyValue,
  methodId: PyValue,
): PyValue {
  const order = getOrder(db, id);
  if (order.status !== "delivered") throw valueError("Non-delivered order cannot be exchanged");
  requireItems(order, ids, (item) => `Number of ${str(item)} not found.`);
  if (len(ids) !== len(newIds)) throw valueError("The number of items to be exchanged should match.");
  const { pairs, more } = exchanges(db, order, ids, newIds, false);
  const difference = round(more, 2);
  requireBalance(paymentMethod(db, order, methodId), difference, "price difference");
  order.status = "exchange requested";
  order.exchange_items = sorted(iterate(ids));
  order.exchange_new_items = sorted(iterate(newIds));
  order.exchange_payment_method_id = methodId;
  order.exchange_price_difference = pairs.length === 0 ? 0n : difference; // a sum of nothing is an int
  return order;
}

function modifyPendingItems(
  db: RetailDB,
  id: PyValue,
  ids: PyValue,
  newIds: PyValue,
  methodId: PyValue,
): PyValue {
  const order = getOrder(db, id);
  requirePending(order.status === "pending");
  requireItems(order, ids, (item) => `${str(item)} not found`);
  if (len(ids) !== len(newIds)) throw valueError("The number of items to be exchanged should match");
  const { pairs, more } = exchanges(db, order, ids, newIds, true);
  const method = paymentMethod(db, order, methodId);
  requireBalance(method, more, "new item");
  order.payment_history.push(payment(more > 0 ? "payment" : "refund", Math.abs(more), methodId));
  credit(method, -more);
  const last = pairs.at(-1)?.variant;
  for (const { id: itemId, newId } of pairs) {
    const item = itemOf(order, itemId);
    item.item_id = newId as string;
    item.price = last!.price;
    item.options = last!.options;
  }
  order.status = "pending (item modified)";
  return order;
}

function modifyPendingPayment(db: RetailDB, id: PyValue, methodId: PyValue): PyValue {
  const order = getOrder(db, id);
  requirePending(order.status.includes("pending"));
  const method = paymentMethod(db, order, methodId);
  const [paid, ...others] = order.payment_history;
  if (paid === undefined || others.length > 0 || paid.transaction_type !== "payment")
    throw valueError("There should be exactly one payment for a pending order");
  if (equals(paid.payment_method_id, methodId))
    throw valueError("The new payment method should be different from the current one");
  requireBalance(method, paid.amount, "order");
  order.payment_history.push(
    payment("payment", paid.amount, methodId),
    payment("refund", paid.amount, paid.payment_method_id),
  );
  credit(method, -paid.amount);
  credit(paymentMethod(db, order, paid.payment_method_id), paid.amount);
  return order;
}

function returnDeliveredItems(db: RetailDB, id: PyValue, ids: PyValue, methodId: PyValue): PyValue {
  const order = getOrder(db, id);
  if (order.status !== "delivered") throw valueError("Non-delivered order cannot be returned");
  const method = paymentMethod(db, order, methodId);
  if (!(method instanceof GiftCard) && !equals(methodId, order.payment_history[0]!.payment_method_id))
    throw valueError("Payment method should be the original payment method");
  requireItems(order, ids, () => "Some item not found");
  order.status = "return requested";
  order.return_items = sorted(iterate(ids));
  order.return_payment_method_id = methodId;
  return order;
}

/** By name, in the order of the database; later parts are only looked at where the earlier ones are the same. */
function findUserByNameAndZip(db: RetailDB, first: PyValue, last: PyValue, zip: PyValue): PyValue {
  for (const [id, { name, address }] of db.users)
    if (
      name.first_name.toLowerCase() === strMethodOf(first, "lower").toLowerCase() &&
      name.last_name.toLowerCase() === strMethodOf(last, "lower").toLowerCase() &&
      equals(address.zip, zip)
    )
      return id;
  throw valueError("User not found");
}

function findUserByEmail(db: RetailDB, email: PyValue): PyValue {
  for (const [id, user] of db.users)
    if (user.email.toLowerCase() === strMethodOf(email, "lower").toLowerCase()) return id;
  throw valueError("User not found");
}

function listProductTypes(db: RetailDB): PyValue {
  const types: PyDict = new Map([...db.products.values()].map(({ name, product_id }) => [name, product_id]));
  return dumps(types, { sortKeys: true });
}

const kAddress = ["address1", "address2", "city", "state", "country", "zip"];

function address(...values: PyValue[]): UserAddress {
  return make(UserAddress, Object.fromEntries(kAddress.map((name, i) => [name, values[i]!])));
}

export const retailTools: ToolkitClass<RetailDB> = {
  name: "RetailTools",
  tools: {
    calculate,
    cancel_pending_order: tool(["order_id", "reason"], cancelPendingOrder),
    exchange_delivered_order_items: tool(
      ["order_id", "item_ids", "new_item_ids", "payment_method_id"],
      exchangeDeliveredItems,
    ),
    find_user_id_by_name_zip: tool(["first_name", "last_name", "zip"], findUserByNameAndZip),
    find_user_id_by_email: tool(["email"], findUserByEmail),
    get_order_details: tool(["order_id"], getOrder),
    get_product_details: tool(["product_id"], getProduct),
    get_user_details: tool(["user_id"], getUser),
    list_all_product_types: tool([], listProductTypes),
    modify_pending_order_address: tool(["order_id", ...kAddress], (db, id, ...parts) => {
      const order = getOrder(db, id);
      requirePending(order.status.includes("pending"));
      order.address = address(...parts);
      return order;
    }),
    modify_pending_order_items: tool(
      ["order_id", "item_ids", "new_item_ids", "payment_method_id"],
      modifyPendingItems,
    ),
    modify_pending_order_payment: tool(["order_id", "payment_method_id"], modifyPendingPayment),
    modify_user_address: tool(["user_id", ...kAddress], (db, id, ...parts) => {
      const user = getUser(db, id);
      user.address = address(...parts);
      return user;
    }),
    return_delivered_order_items: tool(["order_id", "item_ids", "payment_method_id"], returnDeliveredItems),
    transfer_to_human_agents: tool(["summary"], () => "Transfer successful"),
  },
  taskFunctions: {},
};
