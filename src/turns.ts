/**
 * Long loops on the JavaScript thread, cut so that the host's event loop turns in between, and how long a turn takes.
 * Main thread (or a worker's).
 */
import { setImmediate as nextTurn } from "node:timers/promises";

/** What all loops together take of one turn of the event loop. */
const kTurnMs = 10;

let turnEnds: number | undefined; // undefined until a loop runs in this turn

/** Whether such loops, and what else asks, have had their share of this turn. The first to ask in a turn begins it. */
export function turnIsOver(): boolean {
  if (turnEnds === undefined) {
    turnEnds = performance.now() + kTurnMs;
    setImmediate(() => {
      turnEnds = undefined;
    });
  }
  return performance.now() > turnEnds;
}

/** Resolves in a turn that is not over: at once, mostly. Before work that many promises do when they settle together. */
export async function ownTurn(): Promise<void> {
  while (turnIsOver()) await nextTurn();
}

/** How long the event loop is held in turns in which somebody works: from their first work in a turn to its end. */
export class TurnTimer {
  /** Of the turns that are over. */
  longestMs = 0;
  #inTurn = false;

  /** Work begins, or began `earlierMs` ago. */
  enter(earlierMs = 0): void {
    if (this.#inTurn) return;
    this.#inTurn = true;
    const began = performance.now() - earlierMs;
    setImmediate(() => {
      this.#inTurn = false;
      this.longestMs = Math.max(this.longestMs, performance.now() - began);
    });
  }
}

/**
 * `body` of each item in order, over several turns where it takes long. The first call is made at once. Where `body`
 * gives promises, they must not reject: nobody listens to them before the last one is made.
 */
export async function mapInTurns<T, U>(
  items: Iterable<T>,
  body: (item: T, index: number) => U,
): Promise<U[]> {
  const results: U[] = [];
  for (const item of items) {
    results.push(body(item, results.length));
    if (turnIsOver()) await nextTurn();
  }
  return results;
}

/** As Promise.all, over several turns where there are many. That one may reject must be no news to somebody else. */
export async function allInTurns<T>(promises: readonly (Promise<T> | T)[]): Promise<T[]> {
  const results: T[] = [];
  for (const promise of promises) {
    results.push(await promise);
    if (turnIsOver()) await nextTurn();
  }
  return results;
}

/** Of a cheap loop, between two looks at the clock: well under a millisecond. */
const kSlice = 256;

/** As mapInTurns, for bodies so short that a look at the clock after each would cost as much again. */
export async function forEachInTurns<T>(
  items: ArrayLike<T>,
  body: (item: T, index: number) => void,
): Promise<void> {
  for (let start = 0; start < items.length; start += kSlice) {
    const end = Math.min(start + kSlice, items.length);
    for (let i = start; i < end; ++i) body(items[i]!, i);
    if (turnIsOver()) await nextTurn();
  }
}
