/**
 * The carrier agent's tools, and the functions that tasks call on the agent's side. Arguments of tools are what the agent wrote: each operation that the
 * original does on one has its counterpart in python/operators.
 */
import { make } from "../../../python/models.js";
import {
  add,
  atMost,
  contains,
  multiply,
  noAttribute,
  strMethodOf,
  subtract,
} from "../../../python/operators.js";
import { fixed, str } from "../../../python/repr.js";
import {
  equals,
  PyDate,
  PyError,
  type PyValue,
  truthy,
  typeError,
  valueError,
} from "../../../python/types.js";
import { type ToolkitClass, tool } from "../toolkit.js";
import {
  Bill,
  type Customer,
  type Device,
  type Line,
  LineItem,
  type Plan,
  type TelecomDB,
} from "./data-model.js";

export interface TelecomKit {
  db: TelecomDB;
  /** An id that no bill has; random in the original. */
  newBillId: () => string;
}

// The carrier's day never passes: 2025-02-25.
const TODAY = new PyDate("2025-02-25");
const CYCLE_END = new PyDate("2025-02-28");
const NEXT_CYCLE = {
  period_start: "2025-03-01",
  period_end: "2025-03-31",
  issue_date: "2025-03-01",
  due_date: "2025-03-15",
};
const LAST_CYCLE = {
  period_start: "2025-01-01",
  period_end: "2025-01-31",
  issue_date: "2025-01-01",
  due_date: "2025-01-15",
};

function find<T>(records: T[], id: (record: T) => string, wanted: PyValue, kind: string): T {
  const found = records.find((record) => equals(id(record), wanted));
  if (found === undefined) throw valueError(`${kind} ${str(wanted)} not found`);
  return found;
}

const customerById = (db: TelecomDB, id: PyValue): Customer =>
  find(db.customers, (customer) => customer.customer_id, id, "Customer with ID");
const lineById = (db: TelecomDB, id: PyValue): Line =>
  find(db.lines, (line) => line.line_id, id, "Line with ID");
const deviceById = (db: TelecomDB, id: PyValue): Device =>
  find(db.devices, (device) => device.device_id, id, "Device with ID");
const billById = (db: TelecomDB, id: PyValue): Bill =>
  find(db.bills, (bill) => bill.bill_id, id, "Bill with ID");
export const planById = (db: TelecomDB, id: PyValue): Plan =>
  find(db.plans, (plan) => plan.plan_id, id, "Plan with ID");
export const lineByPhone = (db: TelecomDB, phone: PyValue): Line =>
  find(db.lines, (line) => line.phone_number, phone, "Line with phone number");

/** By the number of the customer or of one of the lines. */
export function customerByPhone(db: TelecomDB, phone: PyValue): Customer {
  const phones = ({ phone_number, line_ids }: Customer) => [
    phone_number,
    ...line_ids.map((id) => lineById(db, id).phone_number),
  ];
  const found = db.customers.find((customer) => phones(customer).some((number) => equals(number, phone)));
  if (found === undefined) throw valueError(`Customer with phone number ${str(phone)} not found`);
  return found;
}

export function billsAwaitingPayment(db: TelecomDB, customer: Customer): Bill[] {
  return billsOf(db, customer).filter(({ status }) => status === "Awaiting Payment");
}

export function setBillToPaid(db: TelecomDB, id: PyValue): void {
  billById(db, id).status = "Paid";
}

const billsOf = (db: TelecomDB, customer: Customer) => customer.bill_ids.map((id) => billById(db, id));

function lineOf(db: TelecomDB, customerId: PyValue, lineId: PyValue): Line {
  const customer = customerById(db, customerId);
  if (!contains(customer.line_ids, lineId))
    throw valueError(`Line ${str(lineId)} not found for customer ${str(customerId)}`);
  return lineById(db, lineId);
}

function customersByName({ db }: TelecomKit, name: PyValue, birth: PyValue): PyValue {
  return db.customers.filter(
    ({ full_name, date_of_birth }) =>
      full_name.toLowerCase() === strMethodOf(name, "lower").toLowerCase() && equals(date_of_birth, birth),
  );
}

/** The id's first letter says what it is of. */
function detailsById({ db }: TelecomKit, id: PyValue): PyValue {
  const kinds = { L: lineById, D: deviceById, B: billById, C: customerById, P: planById };
  if (typeof id !== "string") throw noAttribute(id, "startswith");
  const kind = id[0] ?? "";
  if (!Object.hasOwn(kinds, kind)) throw valueError(`Unknown ID format or type: ${id}`);
  return kinds[kind as keyof typeof kinds](db, id);
}

function suspendLine({ db }: TelecomKit, customerId: PyValue, lineId: PyValue): PyValue {
  const line = lineOf(db, customerId, lineId);
  if (line.status !== "Active") throw valueError("Line must be active to suspend");
  line.status = "Suspended";
  line.suspension_start_date = TODAY;
  return new Map<PyValue, PyValue>([
    ["message", "Line suspended successfully. $5/month holding fee will apply."],
    ["line", line],
  ]);
}

function resumeLine({ db }: TelecomKit, customerId: PyValue, lineId: PyValue): PyValue {
  const line = lineOf(db, customerId, lineId);
  if (line.status !== "Suspended" && line.status !== "Pending Activation")
    throw valueError("Line must be suspended to resume");
  line.status = "Active";
  line.suspension_start_date = null;
  return new Map<PyValue, PyValue>([
    ["message", "Line resumed successfully"],
    ["line", line],
  ]);
}

/** The latest first; at most `limit`, which is the end of a Python slice. */
function billsForCustomer({ db }: TelecomKit, customerId: PyValue, limit: PyValue): PyValue {
  const bills = billsOf(db, customerById(db, customerId));
  bills.sort((a, b) =>
    a.issue_date.text < b.issue_date.text ? 1 : a.issue_date.text > b.issue_date.text ? -1 : 0,
  );
  if (limit === null) return bills;
  if (typeof limit !== "bigint" && typeof limit !== "boolean")
    throw typeError("slice indices must be integers or None or have an __index__ method");
  return bills.slice(0, Number(limit));
}

function sendPaymentRequest({ db }: TelecomKit, customerId: PyValue, billId: PyValue): PyValue {
  const customer = customerById(db, customerId);
  if (billsAwaitingPayment(db, customer).length > 0)
    throw valueError("A bill is already awaiting payment for this customer");
  if (!contains(customer.bill_ids, billId))
    throw valueError(`Bill ${str(billId)} not found for customer ${str(customerId)}`);
  const bill = billById(db, billId);
  bill.status = "Awaiting Payment";
  return `Payment request sent to the customer for bill ${bill.bill_id}`;
}

function dataUsage({ db }: TelecomKit, customerId: PyValue, lineId: PyValue): PyValue {
  const line = lineOf(db, customerId, lineId);
  const plan = planById(db, line.plan_id);
  return new Map<PyValue, PyValue>([
    ["line_id", lineId],
    ["data_used_gb", line.data_used_gb],
    ["data_limit_gb", plan.data_limit_gb],
    ["data_refueling_gb", line.data_refueling_gb],
    ["cycle_end_date", CYCLE_END],
  ]);
}

function setRoaming({ db }: TelecomKit, customerId: PyValue, lineId: PyValue, enabled: boolean): PyValue {
  const line = lineOf(db, customerId, lineId);
  const word = enabled ? "enabled" : "disabled";
  if (line.roaming_enabled === enabled) return `Roaming was already ${word}`;
  line.roaming_enabled = enabled;
  return `Roaming ${word} successfully`;
}

function refuelData(kit: TelecomKit, customerId: PyValue, lineId: PyValue, gigabytes: PyValue): PyValue {
  const line = lineOf(kit.db, customerId, lineId);
  if (atMost(gigabytes, 0n)) throw valueError("Refuel amount must be positive");
  const { data_refueling_price_per_gb: price } = planById(kit.db, line.plan_id);
  const charge = multiply(gigabytes, price) as number;
  line.data_refueling_gb = add(line.data_refueling_gb, gigabytes, "+=") as number;
  applyCharge(kit, customerId, charge, `Data refueling: ${str(gigabytes)} GB at $${str(price)}/GB`);
  return new Map<PyValue, PyValue>([
    [
      "message",
      `Successfully added ${str(gigabytes)} GB of data for line ${str(lineId)} for $${fixed(charge, 2)}`,
    ],
    ["new_data_refueling_gb", line.data_refueling_gb],
    ["charge", charge],
  ]);
}

/** On the customer's draft bill, or a new one for the next cycle. */
function applyCharge(
  { db, newBillId }: TelecomKit,
  customerId: PyValue,
  amount: number,
  description: string,
): void {
  const customer = customerById(db, customerId);
  let bill = billsOf(db, customer).find(({ status }) => status === "Draft");
  if (bill === undefined) {
    bill = make(Bill, {
      bill_id: newBillId(),
      customer_id: customerId,
      total_due: 0n,
      status: "Draft",
      ...NEXT_CYCLE,
    });
    db.bills.push(bill);
    customer.bill_ids.push(bill.bill_id);
  }
  charge(bill, amount, description);
}

function charge(bill: Bill, amount: number, description: string): void {
  bill.line_items.push(
    make(LineItem, { description, amount, date: TODAY, item_type: amount < 0 ? "Credit" : "Charge" }),
  );
  bill.total_due += amount;
}

function suspendForOverdueBill(
  { db }: TelecomKit,
  customerId: PyValue,
  lineId: PyValue,
  billId: PyValue,
  ended: PyValue,
) {
  const line = lineById(db, lineId);
  if (line.status !== "Active") throw valueError("Line must be active to suspend for unpaid bill");
  const { price_per_month: amount } = planById(db, line.plan_id);
  if (amount <= 0) throw valueError("Amount must be positive for overdue bill");
  const customer = customerById(db, customerId);
  if (billsOf(db, customer).some(({ status }) => status === "Overdue"))
    throw valueError("Customer already has an overdue bill");
  const bill = make(Bill, {
    bill_id: billId,
    customer_id: customerId,
    total_due: 0n,
    status: "Overdue",
    ...LAST_CYCLE,
  });
  charge(bill, amount, `Charge for line ${line.line_id}`);
  db.bills.push(bill);
  customer.bill_ids.push(bill.bill_id);
  line.status = "Suspended";
  line.suspension_start_date = TODAY;
  if (truthy(ended)) line.contract_end_date = new PyDate(LAST_CYCLE.period_end);
  return `Line ${str(lineId)} suspended for unpaid bill ${str(billId)}. Contract ended: ${str(ended)}`;
}

function setDataUsage({ db }: TelecomKit, customerId: PyValue, lineId: PyValue, gigabytes: PyValue): PyValue {
  lineOf(db, customerId, lineId).data_used_gb = gigabytes;
  return `Data usage set to ${str(gigabytes)} GB for line ${str(lineId)}`;
}

function assertOverdueBill({ db }: TelecomKit, customerId: PyValue, billId: PyValue): PyValue {
  const customer = customerById(db, customerId);
  if (!contains(customer.bill_ids, billId)) throw valueError(`Overdue bill ${str(billId)} not found`);
  if (billById(db, billId).status !== "Overdue")
    throw valueError(`Overdue bill ${str(billId)} is not overdue`);
  return true;
}

/** A bill that there is not is not overdue. */
function assertNoOverdueBill({ db }: TelecomKit, billId: PyValue): PyValue {
  try {
    return billById(db, billId).status === "Paid";
  } catch (error) {
    if (error instanceof PyError && error.type === "ValueError") return true;
    throw error;
  }
}

const kLine = ["customer_id", "line_id"];

export const telecomTools: ToolkitClass<TelecomKit> = {
  name: "TelecomTools",
  tools: {
    get_customer_by_phone: tool(["phone_number"], ({ db }, phone) => customerByPhone(db, phone)),
    get_customer_by_id: tool(["customer_id"], ({ db }, id) => customerById(db, id)),
    get_customer_by_name: tool(["full_name", "dob"], customersByName),
    get_details_by_id: tool(["id"], detailsById),
    suspend_line: tool([...kLine, "reason"], suspendLine),
    resume_line: tool(kLine, resumeLine),
    get_bills_for_customer: tool(["customer_id", { name: "limit", default: 12n }], billsForCustomer),
    send_payment_request: tool(["customer_id", "bill_id"], sendPaymentRequest),
    get_data_usage: tool(kLine, dataUsage),
    enable_roaming: tool(kLine, (kit, customerId, lineId) => setRoaming(kit, customerId, lineId, true)),
    disable_roaming: tool(kLine, (kit, customerId, lineId) => setRoaming(kit, customerId, lineId, false)),
    transfer_to_human_agents: tool(["summary"], () => "Transfer successful"),
    refuel_data: tool([...kLine, "gb_amount"], refuelData),
  },
  taskFunctions: {
    get_available_plan_ids: tool([], ({ db }) => db.plans.map(({ plan_id }) => plan_id)),
    set_data_usage: tool([...kLine, "data_used_gb"], setDataUsage),
    suspend_line_for_overdue_bill: tool([...kLine, "new_bill_id", "contract_ended"], suspendForOverdueBill),
    assert_data_refueling_amount: tool(
      [...kLine, "expected_amount"],
      ({ db }, customerId, lineId, expected) => {
        const difference = subtract(lineOf(db, customerId, lineId).data_refueling_gb, expected);
        return Math.abs(Number(difference)) < 1e-6;
      },
    ),
    assert_line_status: tool([...kLine, "expected_status"], ({ db }, customerId, lineId, expected) =>
      equals(lineOf(db, customerId, lineId).status, expected),
    ),
    assert_overdue_bill_exists: tool(["customer_id", "overdue_bill_id"], assertOverdueBill),
    assert_no_overdue_bill: tool(["overdue_bill_id"], assertNoOverdueBill),
  },
};
