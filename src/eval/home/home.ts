/**
 * The `home` domain: a smart home with lights, thermostats, locks and reminders, and a task that succeeds when the home ends
 * in the expected state. Main thread. Must not score by what the model says, only by the state it leaves behind.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { LockstepError } from "../../errors.js";
import type { ChatMessage, Tool, ToolCall } from "../../index.js";
import type { Answer, Domain, EndReason, Episode, EvalTask, Outcome, Turn } from "../domain.js";
import { callTool, type Home, sameHome } from "./rules.js";

export interface HomeTask extends EvalTask {
  split: string;
  request: string;
  initial_state: Home;
  expected_state: Home;
  /** One way to do it. */
  expected_calls: ToolCall[];
}

export interface HomeDomain extends Domain<HomeTask> {
  readonly system: string;
  readonly tools: Tool[];
}

/** The data that the package comes with. */
const kData = fileURLToPath(new URL("../../../examples/demo", import.meta.url));

/** `data`: a directory with tasks.jsonl, system.txt and tools.json; default: the package's own. */
export function homeDomain({ data = kData }: { data?: string | undefined } = {}): HomeDomain {
  const system = textOf(data, "system.txt");
  const tools = parsed<Tool[]>(data, "tools.json", textOf(data, "tools.json"));
  const lines = textOf(data, "tasks.jsonl").trim();
  const tasks = lines.split("\n").map((line, i) => taskOf(data, line, i + 1));
  const digest = createHash("sha256")
    .update(JSON.stringify([system, tools, tasks]))
    .digest("hex");
  return {
    name: "home",
    splits: [...new Set(tasks.map(({ split }) => split))],
    defaults: { split: "test", maxSteps: 12, sampling: { temperature: 0, maxTokens: 96 } },
    ...{ system, tools },
    tasks: (split) => tasks.filter((task) => task.split === split),
    start: (task) => new HomeEpisode(task, system, tools),
    describe: () => ({ data_sha256: digest }),
  };
}

class HomeEpisode implements Episode {
  readonly first: Turn;
  readonly #task: HomeTask;
  readonly #home: Home;
  readonly #calls: ToolCall[] = []; // that were carried out
  #turn: Turn;

  constructor(task: HomeTask, system: string, tools: Tool[]) {
    this.#task = task;
    this.#home = structuredClone(task.initial_state);
    const conversation = [
      { role: "system", content: system },
      { role: "user", content: task.request },
    ];
    this.first = { conversation, observation: conversation, tools };
    this.#turn = this.first;
  }

  /** One call at a time is the domain's rule: of several, the first counts and the others were never made. */
  step(text: string, { toolCalls = [] }: Pick<Answer, "toolCalls">): Turn | Outcome {
    const begun = text.split("<tool_call>").length - 1;
    if (begun === 0) return this.#judge(sameHome(this.#home, this.#task.expected_state));
    const [call] = toolCalls;
    if (!call || toolCalls.length !== begun) return this.#failed("parse_error", "unparsable call");
    try {
      return this.#goOn(call, callTool(this.#home, call));
    } catch (error) {
      return this.#failed("invalid_call", (error as Error).message);
    }
  }

  end(reason: EndReason): Outcome {
    return this.#failed(reason, null);
  }

  /** The call goes back parsed, for the template to write in its own form, as in the training conversations. */
  #goOn(call: ToolCall, answer: string): Turn {
    this.#calls.push(call);
    const asked: ChatMessage = {
      role: "assistant",
      content: "",
      tool_calls: [{ type: "function", function: call }],
    };
    const observation = [{ role: "tool", content: answer }];
    const conversation = [...this.#turn.conversation, asked, ...observation];
    this.#turn = { ...this.#turn, conversation, observation };
    return this.#turn;
  }

  #failed(status: string, error: string | null): Outcome {
    return { ...this.#judge(false), status, error };
  }

  #judge(success: boolean): Outcome {
    const { expected_state, expected_calls } = this.#task;
    const checks = expected_calls.map((action) => ({
      action,
      made: this.#calls.some((call) => isDeepStrictEqual(call, action)),
    }));
    const share = checks.filter(({ made }) => made).length / Math.max(1, checks.length);
    return {
      status: "completed",
      success,
      partialScore: success ? 1 : share,
      partialComponents: { actions: share },
      rewardInfo: { state_check: stateChecks(this.#home, expected_state), action_checks: checks },
    };
  }
}

/** What differs from the expected state, place by place; one that matches where nothing does. */
function stateChecks(home: Home, expected: Home): object[] {
  const places = (["lights", "thermostats", "locks"] as const).flatMap((table) =>
    Object.keys(expected[table]).map((name) => ({
      ...{ place: `${table}: ${name}`, expected: expected[table][name], found: home[table][name] },
    })),
  );
  places.push({ place: "reminders", expected: expected.reminders, found: home.reminders });
  const checks = places.map((place) => ({ ...place, match: isDeepStrictEqual(place.expected, place.found) }));
  const differing = checks.filter(({ match }) => !match);
  return differing.length > 0 ? differing : [{ match: true }];
}

// ---- its files ----

function textOf(directory: string, name: string): string {
  try {
    return readFileSync(join(directory, name), "utf8");
  } catch (cause) {
    throw malformed(directory, name, `it cannot be read: ${(cause as Error).message}`);
  }
}

function parsed<T>(directory: string, name: string, text: string, place = ""): T {
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw malformed(directory, name, `${place}it is no JSON: ${(cause as Error).message}`);
  }
}

function taskOf(directory: string, line: string, number: number): HomeTask {
  const task = parsed<HomeTask>(directory, "tasks.jsonl", line, `in line ${number} `);
  const lacking = ["id", "split", "request", "initial_state", "expected_state", "expected_calls"].find(
    (key) => task?.[key as keyof HomeTask] === undefined,
  );
  if (lacking !== undefined) throw malformed(directory, "tasks.jsonl", `line ${number} has no ${lacking}`);
  return task;
}

function malformed(directory: string, name: string, what: string): LockstepError {
  return new LockstepError("FILE_ERROR", `Expected ${name} of the home domain in ${directory} but ${what}`);
}
