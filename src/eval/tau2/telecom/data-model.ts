/** The carrier's database: plans, customers, lines, bills, devices. Small enough that every environment has its own. */
import {
  bool,
  date,
  datetime,
  enumeration,
  type Fields,
  float,
  listOf,
  Model,
  modelOf,
  nullable,
  optionalField,
  str,
} from "../../../python/models.js";
import { PyDate, type PyValue } from "../../../python/types.js";

abstract class Strict extends Model {
  static override extra = "forbid" as const;
}

const optionalDate = optionalField(nullable(date));

export class Address extends Strict {
  static override fields: Fields = { street: str, city: str, state: str, zip_code: str };
}

export class Plan extends Strict {
  declare plan_id: string;
  declare data_limit_gb: number;
  declare price_per_month: number;
  declare data_refueling_price_per_gb: number;
  static override fields: Fields = {
    plan_id: str,
    name: str,
    data_limit_gb: float,
    price_per_month: float,
    data_refueling_price_per_gb: float,
  };
}

export class Device extends Strict {
  declare device_id: string;
  static override fields: Fields = {
    device_id: str,
    device_type: enumeration("phone", "router", "tablet", "watch", "other"),
    model: str,
    imei: optionalField(nullable(str)),
    is_esim_capable: bool,
    activated: optionalField(bool, false),
    activation_date: optionalField(nullable(datetime)),
    last_esim_transfer_date: optionalField(nullable(datetime)),
  };
}

export class Line extends Strict {
  declare line_id: string;
  declare phone_number: string;
  declare status: "Active" | "Suspended" | "Pending Activation" | "Closed";
  declare plan_id: string;
  declare data_used_gb: PyValue; // tasks set it, unchecked
  declare data_refueling_gb: number;
  declare roaming_enabled: boolean;
  declare contract_end_date: PyDate | null;
  declare suspension_start_date: PyDate | null;
  static override fields: Fields = {
    line_id: str,
    phone_number: str,
    status: optionalField(
      enumeration("Active", "Suspended", "Pending Activation", "Closed"),
      "Pending Activation",
    ),
    plan_id: str,
    device_id: optionalField(nullable(str)),
    data_used_gb: optionalField(float, 0),
    data_refueling_gb: optionalField(float, 0),
    roaming_enabled: optionalField(bool, false),
    contract_end_date: optionalDate,
    last_plan_change_date: optionalDate,
    last_sim_replacement_date: optionalDate,
    suspension_start_date: optionalDate,
  };
}

export class LineItem extends Strict {
  static override fields: Fields = { description: str, amount: float, date, item_type: str };
}

export class Bill extends Strict {
  declare bill_id: string;
  declare issue_date: PyDate;
  declare total_due: number;
  declare line_items: LineItem[];
  declare status: "Draft" | "Issued" | "Awaiting Payment" | "Paid" | "Overdue" | "Disputed";
  static override fields: Fields = {
    bill_id: str,
    customer_id: str,
    period_start: date,
    period_end: date,
    issue_date: date,
    total_due: float,
    due_date: date,
    line_items: optionalField(listOf(modelOf(LineItem)), () => []),
    status: optionalField(
      enumeration("Draft", "Issued", "Awaiting Payment", "Paid", "Overdue", "Disputed"),
      "Draft",
    ),
  };
}

export class PaymentMethod extends Strict {
  static override fields: Fields = {
    method_type: enumeration("Credit Card", "Debit Card", "PayPal"),
    account_number_last_4: str,
    expiration_date: str,
  };
}

export class Customer extends Strict {
  declare customer_id: string;
  declare full_name: string;
  declare date_of_birth: string;
  declare phone_number: string;
  declare line_ids: string[];
  declare bill_ids: string[];
  static override fields: Fields = {
    customer_id: str,
    full_name: str,
    date_of_birth: str,
    email: str,
    phone_number: str,
    address: modelOf(Address),
    account_status: optionalField(
      enumeration("Active", "Suspended", "Pending Verification", "Closed"),
      "Pending Verification",
    ),
    payment_methods: optionalField(listOf(modelOf(PaymentMethod)), () => []),
    line_ids: optionalField(listOf(str), () => []),
    bill_ids: optionalField(listOf(str), () => []),
    created_at: optionalField(datetime, () => new PyDate("2025-01-01")),
    last_extension_date: optionalDate,
    goodwill_credit_used_this_year: optionalField(float, 0),
  };
}

export class TelecomDB extends Strict {
  declare plans: Plan[];
  declare customers: Customer[];
  declare lines: Line[];
  declare bills: Bill[];
  declare devices: Device[];
  static override fields: Fields = {
    plans: optionalField(listOf(modelOf(Plan)), () => []),
    customers: optionalField(listOf(modelOf(Customer)), () => []),
    lines: optionalField(listOf(modelOf(Line)), () => []),
    bills: optionalField(listOf(modelOf(Bill)), () => []),
    devices: optionalField(listOf(modelOf(Device)), () => []),
  };
}
