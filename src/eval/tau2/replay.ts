/**
 * Recordings of the original against the port: every line is played again, and the first field that differs is named.
 *
 * What a line is, its content says (SPEC): an episode has `steps`; a file of tool calls that ends each domain with a `final_db_hash` has one environment
 * per domain; other tool calls have one per domain in the file, telecom a fresh one each; calls without a domain are `calculate`. Vectors of action
 * parsing, of observations and of floats are read by their fields.
 */
import { LockstepError } from "../../index.js";
import { dumps, loads } from "../../python/json.js";
import { fixed, floatRepr, repr, round } from "../../python/repr.js";
import { strip } from "../../python/text.js";
import { equals, type PyArguments, type PyDict, PyError, type PyValue } from "../../python/types.js";
import { environmentAction, type ParsedAction, parseAction, readAction, type ToolCall } from "./action.js";
import { type DomainData, type DomainName, kDomains, type Tau2Data } from "./data.js";
import type { Environment, Requestor } from "./environment.js";
import { followUp } from "./observation.js";
import { Simulation } from "./simulation.js";
import { shownMessage } from "./transcript.js";
import { userSystemPrompt } from "./user/prompt.js";
import { type ScriptEntry, ScriptedSession } from "./user/scripted.js";

export interface Mismatch {
  /** From 1. */
  line: number;
  /** Of the line's object, as in `steps[2].observation`; empty where the line could not be read or played. */
  field: string;
  /** JSON, or what went wrong. */
  expected: string;
  found: string;
}

export interface ReplayReport {
  /** Lines of the file. */
  records: number;
  /** Actions and calls played. */
  steps: number;
  mismatches: Mismatch[];
}

/** Plays all lines of a file. Throws what the data folder makes go wrong; a line that does not fit is a mismatch. */
export async function replay(text: string, data: Tau2Data): Promise<ReplayReport> {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const report: ReplayReport = { records: lines.length, steps: 0, mismatches: [] };
  const records = lines.map((line, i) => readLine(line, i + 1, report));
  const shared = records.some((record) => record?.has("final_db_hash"));
  const calls = new RecordedCalls(data, shared);
  for (const [i, record] of records.entries()) {
    if (record === undefined || record.has("settings")) continue; // a journal's header
    const found = new Comparison(record, i + 1, report);
    try {
      if (record.has("steps")) await playEpisode(record, data, found);
      else if (!readVector(record, found)) calls.play(record, found);
    } catch (error) {
      if (error instanceof LockstepError && error.code === "FILE_ERROR") throw error;
      found.fail(error);
    }
  }
  return report;
}

function readLine(line: string, number: number, report: ReplayReport): PyDict | undefined {
  try {
    const record = loads(line);
    if (record instanceof Map) return record as PyDict;
    report.mismatches.push({ line: number, field: "", expected: "a JSON object", found: line.slice(0, 80) });
  } catch (error) {
    if (!(error instanceof PyError)) throw error;
    report.mismatches.push({ line: number, field: "", expected: "a JSON object", found: error.message });
  }
  return undefined;
}

/** What a line says, held against what was found: only fields that the line has, and only the first difference counts. */
class Comparison {
  #differs = false;
  constructor(
    private readonly record: PyDict,
    private readonly line: number,
    private readonly report: ReplayReport,
  ) {}

  step(): void {
    this.report.steps++;
  }

  equal(field: string, found: PyValue, expectedIn = this.record, prefix = ""): void {
    if (this.#differs || !expectedIn.has(field)) return;
    const expected = expectedIn.get(field)!;
    if (!equals(expected, found)) this.#add(prefix + field, dumps(expected), dumps(found));
  }

  fail(error: unknown): void {
    this.#add("", "a line that can be played", error instanceof Error ? error.message : String(error));
  }

  #add(field: string, expected: string, found: string): void {
    if (!this.#differs) this.report.mismatches.push({ line: this.line, field, expected, found });
    this.#differs = true;
  }
}

function domainOf(record: PyDict, data: Tau2Data): DomainData {
  const name = record.get("domain") as DomainName;
  if (!kDomains.includes(name))
    throw new Error(`domain: expected ${kDomains.join(", ")}, found ${dumps(name ?? null)}`);
  return data.domain(name);
}

async function playEpisode(record: PyDict, data: Tau2Data, found: Comparison): Promise<void> {
  const domain = domainOf(record, data);
  const id = record.get("task_id") as string;
  if (!domain.taskIds.includes(id))
    throw new Error(`task_id: ${domain.name} has no task ${dumps(id ?? null)}`);
  const task = domain.task(id);
  const user = new ScriptedSession([
    ...((record.get("user_script") ?? []) as ScriptEntry[]),
    greetingOf(record),
  ]);
  const simulation = new Simulation(domain, task, { user });
  const hashes = simulation.environment.hashes();
  found.equal("init_db_hash", hashes.db);
  found.equal("init_user_db_hash", hashes.userDb);
  found.equal("user_system_prompt", userSystemPrompt(domain.guidelines, task.scenario));
  await simulation.start();
  found.equal("reset_observation", simulation.firstObservation);
  found.equal(
    "reset_followup",
    messagesOf(followUp(simulation.firstObservation, { name: "respond", rawActionCall: "" })),
  );
  for (const [i, step] of (record.get("steps") as PyDict[]).entries())
    await playStep(
      step,
      simulation,
      user,
      (field, value) => found.equal(field, value, step, `steps[${i}].`),
      found,
    );
  const { conversation, rewardInfo, ended, partial } = simulation;
  found.equal("reward_info", rewardInfo?.data ?? new Map());
  found.equal("partial", [partial.score, new Map(Object.entries(partial.components))]);
  found.equal("reward", rewardInfo?.reward ?? 0);
  found.equal("termination_reason", ended !== undefined && "termination" in ended ? ended.termination : null);
  found.equal("trajectory", conversation.messages.map(shownMessage));
  found.equal("orchestrator_steps", BigInt(conversation.hops));
  found.equal("num_errors", BigInt(conversation.errors));
}

/** What follows `user: ` in the first observation; a user who stopped at once left none. */
function greetingOf(record: PyDict): string {
  const observation = record.get("reset_observation");
  if (typeof observation === "string" && observation !== "") return observation.replace(/^user: /, "");
  return record.get("termination_reason") === "user_stop" ? "###STOP###" : "";
}

type Equal = (field: string, found: PyValue) => void;

async function playStep(
  step: PyDict,
  simulation: Simulation,
  user: ScriptedSession,
  equal: Equal,
  found: Comparison,
) {
  found.step();
  user.prepare((step.get("user_script") ?? []) as ScriptEntry[]);
  const action = parseAction(strip(step.get("assistant_text") as string));
  const environmentText = environmentAction(action);
  equal("raw_action_call", action.rawActionCall);
  equal("env_action", environmentText);
  const { observation, reward, terminated } = await simulation.step(environmentText);
  equal("observation", observation);
  equal("reward", reward);
  equal("terminated", terminated);
  const hashes = simulation.environment.hashes();
  equal("db_hash", hashes.db);
  equal("user_db_hash", hashes.userDb);
  if (!terminated) equal("followup", messagesOf(followUp(observation, action)));
}

const messagesOf = (messages: object[]): PyValue =>
  messages.map((message) => new Map(Object.entries(message)));

/** What needs no environment: one reading of a text. Whether the record is of such a kind. */
function readVector(record: PyDict, found: Comparison): boolean {
  const read = record.has("obs")
    ? readObservation
    : record.has("text")
      ? readActionText
      : record.has("hex")
        ? readFloat
        : undefined;
  if (read === undefined) return false;
  found.step();
  read(record, found);
  return true;
}

function readObservation(record: PyDict, found: Comparison): void {
  const observation = record.get("obs") as string;
  found.equal("tool_fu", messagesOf(followUp(observation, { name: "f", rawActionCall: "f(a=1)" })));
  found.equal("resp_fu", messagesOf(followUp(observation, { name: "respond", rawActionCall: "" })));
}

function readActionText(record: PyDict, found: Comparison): void {
  const action = orError(() => parseAction(strip(record.get("text") as string)));
  const failed = typeof action === "string";
  found.equal("parse_error", failed ? action : null, new Map([["parse_error", null], ...record]));
  if (!failed) readAgain(action, found);
}

function readAgain(action: ParsedAction, found: Comparison): void {
  found.equal("name", action.name);
  found.equal("raw_action_call", action.rawActionCall);
  const text = orError(() => ({ environment: environmentAction(action) }));
  found.equal("env_action_error", typeof text === "string" ? text : null);
  if (typeof text === "string") return;
  found.equal("env_action", text.environment);
  const read = readAction(text.environment);
  found.equal("message_content", "text" in read ? read.text : null);
  found.equal("tool_calls", "call" in read ? [shownCall(read.call)] : null);
}

function shownCall({ name, arguments: given, requestor }: ToolCall): PyDict {
  return new Map([
    ["name", name],
    ["arguments_repr", repr(given)],
    ["requestor", requestor],
  ]);
}

function orError<T>(read: () => T): T | string {
  try {
    return read();
  } catch (error) {
    if (error instanceof PyError) return `${error.type}: ${error.message}`;
    throw error;
  }
}

function readFloat(record: PyDict, found: Comparison): void {
  const value = floatOfHex(record.get("hex") as string);
  found.equal("repr", floatRepr(value));
  found.equal("json", dumps(value));
  found.equal("round2", floatRepr(round(value, 2)));
  found.equal("fmt2", fixed(value, 2));
}

/** float.fromhex() of what float.hex() writes: `-0x1.8p+3`. */
function floatOfHex(text: string): number {
  const match = /^(-?)0x([01])\.([0-9a-f]+)p([-+]\d+)$/.exec(text);
  if (match === null) return Number(text.replace("inf", "Infinity"));
  const exponent = Number(match[4]) - 4 * match[3]!.length;
  const significand = Number(BigInt(`0x${match[2]}${match[3]}`));
  const half = Math.trunc(exponent / 2); // 2 ** -1074 is the least there is
  const size = significand * 2 ** half * 2 ** (exponent - half);
  return match[1] === "" ? size : -size;
}

/** Tool calls on their own, by domain. */
class RecordedCalls {
  readonly #environments = new Map<string, Environment>();
  constructor(
    private readonly data: Tau2Data,
    /** One environment per domain for all its lines, synchronised after each call. */
    private readonly shared: boolean,
  ) {}

  play(record: PyDict, found: Comparison): void {
    if (record.has("final_db_hash")) {
      const hashes = this.#environment(record).hashes();
      found.equal("final_db_hash", hashes.db);
      found.equal("final_user_db_hash", hashes.userDb);
      return;
    }
    found.step();
    const environment = this.#environment(record);
    const message = environment.answer({
      id: "",
      name: record.get("tool") as string,
      arguments: record.get("args") as PyArguments,
      requestor: (record.get("requestor") ?? "assistant") as Requestor,
    });
    if (this.shared) environment.sync();
    found.equal("content", message.content);
    found.equal("error", message.error);
  }

  /** Without a domain it is `calculate`, which two domains have. */
  #environment(record: PyDict): Environment {
    if (typeof record.get("tool") !== "string" && !record.has("final_db_hash"))
      throw new Error("expected steps of an episode, or a tool with its args");
    const domain = record.has("domain") ? domainOf(record, this.data) : this.data.domain("airline");
    let environment = this.#environments.get(domain.name);
    if (environment === undefined || (domain.name === "telecom" && !this.shared)) {
      environment = domain.fresh();
      this.#environments.set(domain.name, environment);
    }
    return environment;
  }
}
