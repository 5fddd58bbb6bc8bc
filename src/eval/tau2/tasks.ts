/** A task as the benchmark's tasks.json has it: what the user wants, how the world begins, what is graded. Pure. */
import { type PyArguments, type PyDict, PyError, type PyValue, valueError } from "../../python/types.js";
import type { FunctionCall, Requestor } from "./environment.js";

export interface Tau2Task {
  id: string;
  /** `user_scenario`, as data. */
  scenario: PyDict;
  initialActions: FunctionCall[];
  /** Null where the task has none: every ending is a success. */
  criteria: Criteria | null;
}

export interface GoldAction {
  name: string;
  requestor: Requestor;
  arguments: PyArguments;
  compareArgs: string[] | null;
  /** With all fields and their defaults, as reports show it. */
  shown: PyDict;
}

export interface Assertion extends FunctionCall {
  assertValue: PyValue;
  shown: PyDict;
}

export type RewardBasis = "DB" | "ENV_ASSERTION" | "NL_ASSERTION" | "ACTION" | "COMMUNICATE";

export interface Criteria {
  actions: GoldAction[] | null;
  assertions: Assertion[] | null;
  communicate: string[] | null;
  basis: RewardBasis[];
}

/** One entry of tasks.json; PyError that names the field where it is not as expected. */
export function readTask(entry: PyValue): Tau2Task {
  const task = dictOf(entry, "a task");
  const initial = optionalDict(task, "initial_state");
  for (const field of ["initialization_data", "message_history"])
    if ((initial?.get(field) ?? null) !== null) throw valueError(`initial_state.${field} is not supported`);
  const criteria = optionalDict(task, "evaluation_criteria");
  return {
    id: textOf(task, "id"),
    scenario: dictOf(task.get("user_scenario") ?? null, "user_scenario"),
    initialActions: (optionalList(initial, "initialization_actions") ?? []).map(functionCall),
    criteria: criteria === null ? null : readCriteria(criteria),
  };
}

function readCriteria(criteria: PyDict): Criteria {
  return {
    actions: optionalList(criteria, "actions")?.map(goldAction) ?? null,
    assertions: optionalList(criteria, "env_assertions")?.map(assertion) ?? null,
    communicate: optionalList(criteria, "communicate_info") as string[] | null,
    basis: (optionalList(criteria, "reward_basis") ?? ["DB", "COMMUNICATE"]) as RewardBasis[],
  };
}

function functionCall(entry: PyValue): FunctionCall {
  const call = dictOf(entry, "a function call");
  return {
    envType: textOf(call, "env_type") as Requestor,
    name: textOf(call, "func_name"),
    arguments: dictOf(call.get("arguments") ?? null, "arguments") as PyArguments,
  };
}

function assertion(entry: PyValue): Assertion {
  const call = functionCall(entry);
  const fields = entry as PyDict;
  const assertValue = fields.has("assert_value") ? fields.get("assert_value")! : true;
  const shown: [string, PyValue][] = [
    ["env_type", call.envType],
    ["func_name", call.name],
    ["arguments", call.arguments],
    ["assert_value", assertValue],
    ["message", fields.get("message") ?? null],
  ];
  return { ...call, assertValue, shown: new Map(shown) };
}

function goldAction(entry: PyValue): GoldAction {
  const action = dictOf(entry, "an action");
  const name = textOf(action, "name");
  const requestor = (action.get("requestor") ?? "assistant") as Requestor;
  const given = dictOf(action.get("arguments") ?? null, "arguments") as PyArguments;
  const compareArgs = optionalList(action, "compare_args") as string[] | null;
  const shown: [string, PyValue][] = [
    ["action_id", textOf(action, "action_id")],
    ["requestor", requestor],
    ["name", name],
    ["arguments", given],
    ["info", action.get("info") ?? null],
    ["compare_args", compareArgs],
  ];
  return { name, requestor, arguments: given, compareArgs, shown: new Map(shown) };
}

function dictOf(value: PyValue, what: string): PyDict {
  if (!(value instanceof Map)) throw valueError(`${what} is no object`);
  return value as PyDict;
}

function textOf(dict: PyDict, field: string): string {
  const value = dict.get(field);
  if (typeof value !== "string") throw new PyError("ValueError", `${field} is no text`);
  return value;
}

function optionalDict(dict: PyDict, field: string): PyDict | null {
  const value = dict.get(field) ?? null;
  return value === null ? null : dictOf(value, field);
}

function optionalList(dict: PyDict | null, field: string): PyValue[] | null {
  const value = dict?.get(field) ?? null;
  if (value !== null && !Array.isArray(value)) throw valueError(`${field} is no list`);
  return value;
}
