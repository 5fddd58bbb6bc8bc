/**
 * Owns turning one sequence's tokens into text as they come.
 *
 * JS main thread, one per sequence. Must not show half a character, and must not decode anything twice: a push costs
 * the token's bytes and at most three held ones.
 */
import { decodeUtf8, incompleteTail } from "./text.js";

const NOTHING = new Uint8Array(0);

/** The pieces and the final flush join to what `decode` gives for all the ids. */
export class DecodeStream {
  readonly #bytesOf: (id: number) => Uint8Array;
  #held: Uint8Array = NOTHING; // the beginning of a character: at most 3 bytes

  constructor(bytesOf: (id: number) => Uint8Array) {
    this.#bytesOf = bytesOf;
  }

  /** The text that `id` completes; empty while a character is incomplete. */
  push(id: number): string {
    const added = this.#bytesOf(id);
    if (added.length === 0) return "";
    const bytes = this.#held.length === 0 ? added : Buffer.concat([this.#held, added]);
    const shown = bytes.length - incompleteTail(bytes);
    this.#held = bytes.subarray(shown);
    return shown === 0 ? "" : decodeUtf8(bytes.subarray(0, shown));
  }

  /** The end of the text: a character that never was completed shows as U+FFFD. The stream can then begin anew. */
  flush(): string {
    const rest = decodeUtf8(this.#held);
    this.#held = NOTHING;
    return rest;
  }
}
