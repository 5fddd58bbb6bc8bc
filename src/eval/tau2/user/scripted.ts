/** A user whose replies are written down: from a recording, for replays and offline runs. */
import type { PyArguments } from "../../../python/types.js";
import type { UserReply, UserSession } from "./user.js";

/** Words, or one call with its arguments. */
export type ScriptEntry = string | [name: string, given: PyArguments];

/** What a user says who has nothing left to say. */
const NOTHING_LEFT = "ok";

export class ScriptedUser implements UserSession {
  #next: ScriptEntry[];

  constructor(greeting: string) {
    this.#next = [greeting];
  }

  /** The replies to the agent's next message; what was left of the last ones is gone. */
  prepare(script: readonly ScriptEntry[]): void {
    this.#next = [...script];
  }

  reply(): UserReply {
    const entry = this.#next.shift() ?? NOTHING_LEFT;
    if (typeof entry === "string") return { text: entry };
    return { toolCalls: [{ id: "call_0", name: entry[0], arguments: entry[1] }] };
  }
}
