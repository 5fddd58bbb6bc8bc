/** The carrier's environments: both databases, and what keeps them in step. */
import { parse } from "smol-toml";
import { make } from "../../../python/models.js";
import type { PyDict, PyValue } from "../../../python/types.js";
import { bindToolkit, Environment } from "../environment.js";
import { TelecomDB } from "./data-model.js";
import {
  billsAwaitingPayment,
  customerByPhone,
  lineByPhone,
  planById,
  setBillToPaid,
  type TelecomKit,
  telecomTools,
} from "./tools.js";
import { PaymentRequest, TelecomUserDB, type UserSurroundings } from "./user-data-model.js";
import { openUserKit } from "./user-kit.js";
import { telecomUserTools } from "./user-tools.js";

/** A TOML document's values: integers and floats stay apart. */
export function loadsToml(text: string): PyDict {
  return pyValue(parse(text, { integersAsBigInt: true })) as PyDict;
}

function pyValue(value: unknown): PyValue {
  if (Array.isArray(value)) return value.map(pyValue);
  if (typeof value !== "object" || value === null) return value as PyValue;
  return new Map(Object.entries(value).map(([key, item]) => [key, pyValue(item)]));
}

/** One environment. New bills are B00000001 and so on; the original's are random. */
export function telecomEnvironment(agentData: PyDict, userData: PyDict): Environment {
  let bills = 0;
  const newBillId = () => `B${String(++bills).padStart(8, "0")}`;
  const agent: TelecomKit = { db: make(TelecomDB, agentData), newBillId };
  const user = openUserKit(make(TelecomUserDB, userData));
  return new Environment(
    bindToolkit(telecomTools, agent, agent.db),
    bindToolkit(telecomUserTools, user, user.db),
    () => synchronise(agent.db, user.db.surroundings),
  );
}

/** What the carrier knows of the user's line, and payments on their way; nothing before the user has a number. */
function synchronise(db: TelecomDB, surroundings: UserSurroundings): void {
  const phone = surroundings.phone_number;
  if (phone === null) return;
  const line = lineByPhone(db, phone);
  const plan = planById(db, line.plan_id);
  surroundings.line_active = line.status === "Active";
  surroundings.roaming_allowed = line.roaming_enabled;
  surroundings.mobile_data_usage_exceeded =
    Number(line.data_used_gb) >= plan.data_limit_gb + line.data_refueling_gb;
  if (surroundings.payment_request?.paid) {
    setBillToPaid(db, surroundings.payment_request.bill_id);
    surroundings.payment_request = null;
  }
  if (surroundings.payment_request !== null) return;
  const [bill] = billsAwaitingPayment(db, customerByPhone(db, phone));
  if (bill !== undefined)
    surroundings.payment_request = make(PaymentRequest, {
      bill_id: bill.bill_id,
      amount_due: bill.total_due,
    });
}
