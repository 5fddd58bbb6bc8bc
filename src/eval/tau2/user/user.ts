/** Who plays the user: one session per attempt, asked for a reply each time it is the user's turn. Types only. */
import type { PyArguments } from "../../../python/types.js";
import type { ToolMessage } from "../environment.js";
import type { Tau2Task } from "../tasks.js";
import type { ToolSchema } from "../tool-schemas.js";

/** What users are made of: an endpoint, an engine, a script. */
export interface User {
  start(role: UserRole): UserSession;
  /** What decides the user's words, for the report; runs are resumed only where it is equal. */
  describe(): Record<string, unknown>;
}

/** Whom to play. */
export interface UserRole {
  domain: string;
  task: Tau2Task;
  /** Guidelines and scenario. */
  systemPrompt: string;
  /** Empty where users have none. */
  tools: ToolSchema[];
  sample: number;
  /** Of the attempt, in [0, 2^48). */
  seed: number;
  signal?: AbortSignal;
}

/** Words for the agent, or calls; where there are calls, nobody hears the words. */
export interface UserReply {
  text?: string;
  toolCalls?: { name: string; arguments: PyArguments }[];
}

/** What the user hears: the agent's words, or the results of its last calls in their order. */
export type Heard = { text: string } | { results: ToolMessage[] };

/** What a conversation asks for replies. */
export interface Replying {
  /** What it throws ends the attempt as `user_error`; an engine's own failure ends the run, and the attempt is left to the next one. */
  reply(heard: Heard): UserReply | Promise<UserReply>;
  /** Counts so far, such as `user_prompt_tokens`. */
  readonly usage?: Record<string, number>;
}

export interface UserSession extends Replying {
  /** Takes an exchange as if it had been: `reply` is what it said. */
  recall(heard: Heard, reply: UserReply): void;
}
