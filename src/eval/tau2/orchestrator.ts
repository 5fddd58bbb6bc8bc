/**
 * The conversation of agent, user and environment, message by message (SPEC §6).
 *
 * A state machine that waits where it is the agent's turn: start(), then act() until `ended`. Owns the trajectory and the counts that end an attempt.
 * One attempt each; asynchronous only because the user may be a model.
 */
import { strip } from "../../python/text.js";
import { PyError } from "../../python/types.js";
import { isOfEngine } from "../agent.js";
import { readAction, type ToolCall } from "./action.js";
import type { Environment, ToolMessage } from "./environment.js";
import type { Termination, Trajectory } from "./grading.js";
import { observationText } from "./observation.js";
import type { Heard, Replying, UserReply } from "./user/user.js";

/** What opens every conversation, on the agent's side. */
const GREETING = "Hi! How can I help you today?";
const STOP = "###STOP###";
const USER_STOPS = [STOP, "###TRANSFER###", "###OUT-OF-SCOPE###"];
const DONE = "done";
const MAX_ERRORS = 10;

export interface Message {
  role: "assistant" | "user";
  content: string | null;
  toolCalls: ToolCall[] | null;
}

/** `failed`: no grading, for what the user or the synchronisation threw. */
export type Ending =
  | { termination: Termination }
  | { failed: "user_error" | "environment_error"; error: string };

export interface OrchestratorOptions {
  environment: Environment;
  user: Replying;
  /** Hops between participants after which the attempt ends. */
  maxHops: number;
}

export class Orchestrator {
  readonly messages: (Message | ToolMessage)[] = [];
  hops = 0;
  errors = 0;
  ended: Ending | undefined;
  /** What the agent sees of what happened since its last message. */
  observation = "";
  readonly #environment: Environment;
  readonly #user: Replying;
  readonly #maxHops: number;
  /** What came in since the agent's last message. */
  #incoming: { role: string; content: string }[] = [];

  constructor({ environment, user, maxHops }: OrchestratorOptions) {
    this.#environment = environment;
    this.#user = user;
    this.#maxHops = maxHops;
  }

  /** Until the agent's first turn. */
  async start(): Promise<void> {
    this.messages.push({ role: "assistant", content: GREETING, toolCalls: null });
    await this.#until(async () => {
      this.#environment.sync();
      await this.#userTurn({ text: GREETING });
    });
  }

  /** The agent's turn with an action's text, until its next turn or the end. */
  async act(action: string): Promise<void> {
    await this.#until(() => this.#agentTurn(action));
  }

  get trajectory(): Trajectory {
    const calls = this.messages.flatMap((message) =>
      "toolCalls" in message ? (message.toolCalls ?? []) : [],
    );
    const agentTexts = this.messages.flatMap((message) =>
      message.role === "assistant" && message.content !== null && strip(message.content) !== ""
        ? [message.content]
        : [],
    );
    return { calls, agentTexts };
  }

  async #until(turn: () => Promise<void>): Promise<void> {
    try {
      await turn();
      this.observation = observationText(this.#incoming);
    } catch (error) {
      // What the agent saw last stays: the original's does.
      if (error instanceof UserFailure) this.ended = { failed: "user_error", error: error.message };
      else if (error instanceof PyError) this.ended = { failed: "environment_error", error: error.message };
      else throw error;
    }
  }

  async #agentTurn(action: string): Promise<void> {
    const message = agentMessage(action);
    this.messages.push(message);
    this.#incoming = [];
    if (message.toolCalls !== null) {
      this.#endHop("environment");
      this.#incoming = this.#callTools(message.toolCalls);
      this.#endHop("agent");
      return;
    }
    if (message.content!.includes(STOP)) this.ended = { termination: "agent_stop" };
    this.#endHop("user");
    if (this.ended === undefined) await this.#userTurn({ text: message.content! });
  }

  async #userTurn(heard: Heard): Promise<void> {
    let next = heard;
    for (;;) {
      const message = userMessage(await this.#reply(next));
      this.messages.push(message);
      if (message.toolCalls === null) {
        if (USER_STOPS.some((stop) => message.content!.includes(stop)))
          this.ended = { termination: "user_stop" };
        this.#incoming = [{ role: "user", content: message.content! }];
        this.#endHop("agent");
        return;
      }
      this.#endHop("environment");
      next = { results: this.#callTools(message.toolCalls) };
      this.#endHop("user");
      if (this.ended !== undefined) return;
    }
  }

  async #reply(heard: Heard): Promise<UserReply> {
    try {
      return await this.#user.reply(heard);
    } catch (error) {
      if (isOfEngine(error)) throw error; // the run's matter
      throw new UserFailure(error instanceof Error ? error.message : String(error));
    }
  }

  #callTools(calls: ToolCall[]): ToolMessage[] {
    const results = calls.map((call) => this.#environment.answer(call));
    this.errors += results.filter(({ error }) => error).length;
    this.messages.push(...results);
    return results;
  }

  /** Counts are looked at except on the way to the environment; they come before a stop of the same hop. */
  #endHop(next: "agent" | "user" | "environment"): void {
    this.hops++;
    this.#environment.sync();
    if (next === "environment") return;
    if (this.hops >= this.#maxHops) this.ended = { termination: "max_steps" };
    if (this.errors >= MAX_ERRORS) this.ended = { termination: "too_many_errors" };
  }
}

class UserFailure extends Error {}

/** `done` becomes the text that stops. */
function agentMessage(action: string): Message {
  const read = readAction(action);
  if ("text" in read) return { role: "assistant", content: read.text, toolCalls: null };
  if (read.call.name === DONE) return { role: "assistant", content: STOP, toolCalls: null };
  return { role: "assistant", content: null, toolCalls: [read.call] };
}

function userMessage(reply: UserReply): Message {
  if (reply.toolCalls !== undefined && reply.toolCalls.length > 0) {
    const toolCalls = reply.toolCalls.map(
      (call, i): ToolCall => ({ id: `call_${i}`, ...call, requestor: "user" }),
    );
    return { role: "user", content: null, toolCalls };
  }
  if (reply.text === undefined || strip(reply.text) === "")
    throw new UserFailure("a reply without text and without a tool call");
  return { role: "user", content: reply.text, toolCalls: null };
}
