/**
 * What an attempt is worth: end state against the reference's, assertions, actions, what was said (SPEC §10).
 *
 * Pure but for the assertions, which are functions of the environment. Results are data in the original's layout and order.
 */
import { equals, type PyDict, PyError, type PyValue } from "../../python/types.js";
import type { ToolCall } from "./action.js";
import type { Environment } from "./environment.js";
import type { Assertion, Criteria, GoldAction, Tau2Task } from "./tasks.js";

/** How a simulation ended by itself. */
export type Termination = "agent_stop" | "user_stop" | "max_steps" | "too_many_errors";

export interface Trajectory {
  /** Every call of either participant, in order. */
  calls: ToolCall[];
  /** What the agent said, without its calls. */
  agentTexts: string[];
}

export interface RewardInfo {
  reward: number;
  data: PyDict;
}

const dict = (...entries: [string, PyValue][]): PyDict => new Map(entries);

const FIELDS = [
  ...[
    "reward",
    "db_check",
    "env_assertions",
    "action_checks",
    "nl_assertions",
    "communicate_checks",
    "reward_basis",
  ],
  ...["reward_breakdown", "info"],
];

function rewardInfo(reward: number, parts: Record<string, PyValue>): RewardInfo {
  return {
    reward,
    data: dict(...FIELDS.map((name): [string, PyValue] => [name, { reward, ...parts }[name] ?? null])),
  };
}

/**
 * `environment` is where the attempt ended; `goldHashes` those of a fresh one after the reference's actions. Assertions run on `environment`.
 */
export function grade(
  task: Tau2Task,
  termination: Termination,
  trajectory: Trajectory,
  environment: Environment,
  goldHashes: () => { db: string; userDb: string | null },
): RewardInfo {
  if (termination !== "agent_stop" && termination !== "user_stop") {
    const note = `Simulation terminated prematurely. Termination reason: ${termination}`;
    return rewardInfo(0, { info: dict(["note", note]) });
  }
  if (task.criteria === null) return rewardInfo(1, { info: dict(["note", "No evaluation criteria"]) });
  const { basis } = task.criteria;
  const state = stateCheck(task.criteria, environment, goldHashes);
  const actions = actionCheck(task.criteria.actions, trajectory.calls);
  const said = communicateCheck(task.criteria.communicate, trajectory.agentTexts);
  const breakdown = dict();
  const factors: number[] = [];
  const count = (name: string, factor: number | undefined) => {
    if (factor !== undefined) breakdown.set(name, factor);
    factors.push(factor ?? 1);
  };
  if (basis.includes("DB")) count("DB", state.dbReward);
  if (basis.includes("ENV_ASSERTION")) count("ENV_ASSERTION", state.assertionReward);
  if (basis.includes("ACTION")) count("ACTION", actions.reward);
  if (basis.includes("NL_ASSERTION"))
    throw new PyError(
      "ValueError",
      "NL assertions are part of the reward basis, but they are not being evaluated.",
    );
  if (basis.includes("COMMUNICATE")) count("COMMUNICATE", said.reward);
  return rewardInfo(
    factors.reduce((product, factor) => product * factor, 1),
    {
      db_check: state.dbCheck,
      env_assertions: state.assertions,
      action_checks: actions.checks,
      communicate_checks: said.checks,
      reward_basis: basis,
      reward_breakdown: breakdown,
      info: dict(["env", state.info], ["nl", null], ["communicate", said.info], ["action", actions.info]),
    },
  );
}

const note = (text: string) => dict(["note", text]);

interface StateCheck {
  dbCheck: PyValue;
  assertions: PyValue;
  info: PyValue;
  dbReward: number | undefined;
  assertionReward: number | undefined;
}

function stateCheck(
  criteria: Criteria,
  environment: Environment,
  goldHashes: () => { db: string; userDb: string | null },
): StateCheck {
  if (criteria.actions === null && criteria.assertions === null) {
    const dbCheck = dict(["db_match", true], ["db_reward", 1]);
    const info = note("No expected actions or env assertions");
    return { dbCheck, assertions: null, info, dbReward: undefined, assertionReward: undefined };
  }
  const [reached, gold] = [environment.hashes(), goldHashes()];
  const match = reached.db === gold.db && reached.userDb === gold.userDb;
  const assertions = (criteria.assertions ?? []).map((assertion) => assertionCheck(assertion, environment));
  return {
    dbCheck: dict(["db_match", match], ["db_reward", Number(match)]),
    assertions,
    info: null,
    dbReward: Number(match),
    assertionReward: Number(assertions.every((check) => check.get("met"))),
  };
}

function assertionCheck(assertion: Assertion, environment: Environment): PyDict {
  const met = equals(environment.callFunction(assertion), assertion.assertValue);
  return dict(["env_assertion", assertion.shown], ["met", met], ["reward", Number(met)]);
}

interface Check {
  checks: PyValue;
  reward: number;
  info: PyValue;
}

function actionCheck(gold: GoldAction[] | null, calls: ToolCall[]): Check {
  if (gold === null || gold.length === 0)
    return { checks: null, reward: 1, info: note("No actions to evaluate") };
  const checks = gold.map((action) => {
    const match = calls.some((call) => matches(action, call));
    return dict(["action", action.shown], ["action_match", match], ["action_reward", Number(match)]);
  });
  return { checks, reward: Number(checks.every((check) => check.get("action_match"))), info: null };
}

/** Same name, and the same values of the compared arguments; where none are named, of those that the call has. */
function matches(gold: GoldAction, call: ToolCall): boolean {
  if (gold.name !== call.name) return false;
  const compared = gold.compareArgs ?? [...call.arguments.keys()];
  const restricted = (args: PyDict) => new Map([...args].filter(([key]) => compared.includes(key as string)));
  return compared.length === 0 || equals(restricted(call.arguments), restricted(gold.arguments));
}

function communicateCheck(needed: string[] | null, agentTexts: string[]): Check {
  if (needed === null || needed.length === 0)
    return { checks: null, reward: 1, info: note("No communicate_info to evaluate") };
  const checks = needed.map((info) => {
    const text = agentTexts.find((said) =>
      said.toLowerCase().replaceAll(",", "").includes(info.toLowerCase()),
    );
    const justification =
      text === undefined
        ? `Information '${info}' not communicated.`
        : `Information '${info}' communicated in the message:\n '${text}'`;
    return dict(["info", info], ["met", text !== undefined], ["justification", justification]);
  });
  return { checks, reward: Number(checks.every((check) => check.get("met"))), info: null };
}

const WEIGHTS: Record<string, number> = { action: 0.5, communicate: 0.15, env_assertion: 0.35, db: 0 };

/** How much of a task was done: the weighted mean of the shares that were met, over the checks that there are. */
export function partialScore({ data }: RewardInfo): { score: number; components: Record<string, number> } {
  const components: Record<string, number> = {};
  const share = (name: string, field: string, flag: string) => {
    const checks = (data.get(field) ?? []) as PyDict[];
    if (checks.length > 0)
      components[name] = checks.filter((check) => check.get(flag)).length / checks.length;
  };
  share("action", "action_checks", "action_match");
  share("communicate", "communicate_checks", "met");
  share("env_assertion", "env_assertions", "met");
  const db = data.get("db_check") as PyDict | null | undefined;
  if (db) components.db = Number(db.get("db_match"));
  const names = Object.keys(components);
  const weight = sumOf(names.map((name) => WEIGHTS[name]!));
  if (weight <= 0) return { score: 0, components };
  return { score: sumOf(names.map((name) => components[name]! * WEIGHTS[name]!)) / weight, components };
}

const sumOf = (values: number[]) => values.reduce((total, value) => total + value, 0);
