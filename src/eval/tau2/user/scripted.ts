/** A user whose replies are written down: from a recording or a function, for replays, tests and offline runs. */
import type { PyArguments } from "../../../python/types.js";
import type { Heard, User, UserReply, UserRole, UserSession } from "./user.js";

type Call = [name: string, given: PyArguments];
/** Words, one call with its arguments, or several in one message. */
export type ScriptEntry = string | Call | Call[];

/** What a user says who has nothing left to say. */
const NOTHING_LEFT = "ok";

export class ScriptedSession implements UserSession {
  #next: ScriptEntry[];

  /** @param opening the replies to the agent's greeting */
  constructor(opening: readonly ScriptEntry[]) {
    this.#next = [...opening];
  }

  /** The replies to the agent's next message; what was left of the last ones is gone. */
  prepare(script: readonly ScriptEntry[]): void {
    this.#next = [...script];
  }

  recall(): void {
    this.#next.shift();
  }

  reply(): UserReply {
    const entry = this.#next.shift() ?? NOTHING_LEFT;
    if (typeof entry === "string") return { text: entry };
    const calls = (typeof entry[0] === "string" ? [entry] : entry) as Call[];
    return { toolCalls: calls.map(([name, given]) => ({ name, arguments: given })) };
  }
}

/** A reply as what a recording would hold of it. */
export function scriptEntryOf({ text, toolCalls }: UserReply): ScriptEntry {
  if (toolCalls === undefined || toolCalls.length === 0) return text ?? "";
  const calls = toolCalls.map(({ name, arguments: given }): Call => [name, given]);
  return calls.length === 1 ? calls[0]! : calls;
}

/**
 * A user played by a function of the role, the turn (from 0: the greeting's) and what was heard. `description` goes into the report: two functions of
 * the same description are taken to be the same.
 */
export function scriptedUser(
  script: (role: UserRole, turn: number, heard: Heard) => UserReply | Promise<UserReply>,
  description: Record<string, unknown> = { user: "scripted" },
): User {
  return {
    start(role) {
      let turn = 0;
      return { reply: (heard) => script(role, turn++, heard), recall: () => void turn++ };
    },
    describe: () => description,
  };
}
