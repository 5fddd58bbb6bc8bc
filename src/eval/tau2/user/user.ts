/** Who plays the user: one session per attempt, asked for a reply each time it is the user's turn. Types only. */
import type { PyArguments } from "../../../python/types.js";
import type { ToolMessage } from "../environment.js";

/** A call of one of the user's tools. */
export interface UserToolCall {
  id: string;
  name: string;
  arguments: PyArguments;
}

/** Words for the agent, or calls; where there are calls, nobody hears the words. */
export interface UserReply {
  text?: string;
  toolCalls?: UserToolCall[];
}

export interface UserSession {
  /** What it throws ends the attempt as `user_error`. */
  reply(heard: { text: string } | { results: ToolMessage[] }): UserReply | Promise<UserReply>;
}
