/**
 * Owns finding stop strings in text that arrives in pieces (Aho-Corasick over UTF-16 units).
 *
 * JS main thread, one matcher per sequence. Must not use regular expressions, and must not look at a unit of text
 * more than an amortised constant number of times, whatever the stop strings (R14).
 */
import { itemsOf } from "../check.js";
import { invalid } from "../errors.js";

/** Caps what one request can make us build: about 100 bytes of trie per unit. */
const MAX_TOTAL_UNITS = 65_536;

/** A copy of the caller's list; what is not a list of non-empty strings is refused. */
export function checkStopStrings(stops: unknown): string[] {
  if (!Array.isArray(stops)) throw invalid("an array of strings", "stop", stops);
  let total = 0;
  return itemsOf(stops, "stop", MAX_TOTAL_UNITS, "stop strings").map((stop, i) => {
    if (typeof stop !== "string" || stop === "" || !stop.isWellFormed())
      throw invalid("a non-empty string without lone surrogates", `stop[${i}]`, stop);
    total += stop.length;
    if (total > MAX_TOTAL_UNITS)
      throw invalid(`stop strings of at most ${MAX_TOTAL_UNITS} characters in total`, "stop", total);
    return stop;
  });
}

export interface StopResult {
  /** Text that is safe to show now. */
  emit: string;
  /** The stop string that ended the text, once one has. */
  stop?: string;
}

/**
 * Feeds decoded text through and ends it at the earliest stop string.
 *
 * The earliest occurrence is the one that ENDS first: it is the one a reader of the stream can know first. Among those
 * that end at the same character, the one that starts first (the longest) counts, so no part of it is shown.
 * With stops "bcd" and "abcde" in "abcde", "bcd" ends first: "a" is emitted and the stop is "bcd".
 *
 * Held back is exactly the longest end of the text that some stop string begins with, and nothing else. What follows
 * the stop string is dropped. `includeStop` emits the stop string too. Pieces must be whole characters.
 */
export class StopMatcher {
  readonly #stops: readonly string[];
  readonly #includeStop: boolean;
  // The trie. Node 0 is the root; a node stands for a beginning of some stop string of length #depth.
  readonly #next = new Map<number, number>(); // node * 65536 + unit → node
  readonly #fail: number[] = [0]; // the longest proper end of the node's text that is a node, too
  readonly #depth: number[] = [0];
  readonly #match: number[] = [-1]; // the longest stop string that ends at the node: index into #stops
  #node = 0;
  #held = ""; // always the last #depth[#node] units of the text
  #stop: string | undefined;

  constructor(stops: readonly string[], { includeStop = false }: { includeStop?: boolean } = {}) {
    this.#stops = checkStopStrings(stops);
    this.#includeStop = includeStop;
    this.#build();
  }

  /** The stop string found, if any. */
  get stop(): string | undefined {
    return this.#stop;
  }

  /** Takes the next piece; after a stop string was found, further pieces are dropped. */
  push(piece: string): StopResult {
    if (this.#stop !== undefined) return { emit: "", stop: this.#stop };
    if (this.#stops.length === 0) return { emit: piece };
    for (let i = 0; i < piece.length; ++i) {
      this.#node = this.#step(this.#node, piece.charCodeAt(i));
      const match = this.#match[this.#node]!;
      if (match < 0) continue;
      const stop = this.#stops[match]!;
      const text = this.#held + piece.slice(0, i + 1);
      this.#stop = stop;
      this.#held = "";
      return { emit: this.#includeStop ? text : text.slice(0, text.length - stop.length), stop };
    }
    const text = this.#held + piece;
    const shown = text.length - this.#depth[this.#node]!;
    this.#held = text.slice(shown);
    return { emit: text.slice(0, shown) };
  }

  /** The text that was held back and no longer can become a stop string: the end of the text. */
  flush(): string {
    const held = this.#held;
    this.#held = "";
    this.#node = 0;
    return held;
  }

  #step(from: number, unit: number): number {
    let node = from;
    for (;;) {
      const next = this.#next.get(node * 65_536 + unit);
      if (next !== undefined) return next;
      if (node === 0) return 0;
      node = this.#fail[node]!;
    }
  }

  #build(): void {
    const parent: number[] = [-1];
    const unitOf: number[] = [-1];
    this.#stops.forEach((stop, index) => {
      let node = 0;
      for (let i = 0; i < stop.length; ++i) {
        const key = node * 65_536 + stop.charCodeAt(i);
        let next = this.#next.get(key);
        if (next === undefined) {
          next = this.#depth.length;
          this.#next.set(key, next);
          this.#depth.push(i + 1);
          this.#fail.push(0);
          this.#match.push(-1);
          parent.push(node);
          unitOf.push(stop.charCodeAt(i));
        }
        node = next;
      }
      if (this.#match[node]! < 0) this.#match[node] = index;
    });
    // Breadth first: a node's fail link is shorter than the node, hence already done.
    const byDepth = parent.map((_, node) => node).sort((a, b) => this.#depth[a]! - this.#depth[b]!);
    for (const node of byDepth) {
      if (this.#depth[node]! > 1) this.#fail[node] = this.#step(this.#fail[parent[node]!]!, unitOf[node]!);
      if (this.#match[node]! < 0) this.#match[node] = this.#match[this.#fail[node]!]!;
    }
  }
}
