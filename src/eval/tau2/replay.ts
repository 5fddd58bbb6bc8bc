/**
 * Recordings of the original against the port: every line is played again, and the first field that differs is named.
 *
 * What a line is, its content says (SPEC): an episode has `steps`; a file of tool calls that ends each domain with a `final_db_hash` has one environment
 * per domain; other tool calls have one per domain in the file, telecom a fresh one each; calls without a domain are `calculate`.
 */
import { LockstepError } from "../../index.js";
import { dumps, loads } from "../../python/json.js";
import { strip } from "../../python/text.js";
import { equals, type PyArguments, type PyDict, PyError, type PyValue } from "../../python/types.js";
import { environmentAction, parseAction } from "./action.js";
import { type DomainData, type DomainName, kDomains, type Tau2Data } from "./data.js";
import type { Environment, Requestor, ToolMessage } from "./environment.js";
import { followUp } from "./observation.js";
import type { Message } from "./orchestrator.js";
import { Simulation } from "./simulation.js";
import { userSystemPrompt } from "./user/prompt.js";
import { type ScriptEntry, ScriptedUser } from "./user/scripted.js";

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
    if (record === undefined) continue;
    const found = new Comparison(record, i + 1, report);
    try {
      if (record.has("steps")) await playEpisode(record, data, found);
      else calls.play(record, found);
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
  const user = new ScriptedUser(greetingOf(record));
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
  user: ScriptedUser,
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

/** A message of the trajectory in the recordings' layout. */
function shownMessage(message: Message | ToolMessage, index: number): PyDict {
  const { role, content } = message;
  const fields: [string, PyValue][] = [
    ["role", role],
    ["content", content],
    ["turn_idx", BigInt(index)],
  ];
  if (message.role === "tool")
    fields.push(["requestor", message.requestor], ["error", message.error], ["id", message.id]);
  else {
    const calls = message.toolCalls?.map((call) => new Map<string, PyValue>(Object.entries(call)));
    fields.push(["tool_calls", (calls as PyValue[] | undefined) ?? null]);
  }
  return new Map(fields);
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
