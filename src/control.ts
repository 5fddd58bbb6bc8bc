/**
 * What is asked of an engine as a whole: pause, continue, flush the prefix cache. One thing at a time, in the order of the
 * calls: each waits until the one before it is done. The engine thread does it, between two steps. Main thread (or a worker's).
 */
import { abortSignal, checkOptions, oneOf, type Schema } from "./check.js";
import type { Connection } from "./connection.js";
import { ControlKind, type NativeControl, type NativeEvent, Running } from "./native.js";
import { onAbort } from "./signals.js";

/**
 * What becomes of requests that have begun: "wait" = they finish first; "abort" = they end with `finishReason: "abort"` and
 * what exists; "continue" = they stay, and go on afterwards. Requests that have not begun wait in any case.
 */
export type RunningMode = keyof typeof Running;

export interface PauseOptions {
  /** Default "wait". */
  mode?: RunningMode | undefined;
  /** Takes the call back while it waits; the promise rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

const kPauseSchema: Schema<PauseOptions> = { mode: oneOf("wait", "abort", "continue"), signal: abortSignal };

export class EngineControl {
  readonly #connection: Connection;
  #unfinished = 0; // things asked and not done
  #last: Promise<unknown> = Promise.resolve(); // settles when the last of them is

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  async pause(options: PauseOptions | undefined): Promise<void> {
    const { mode, signal } = checkOptions(options, "pause options", kPauseSchema);
    await this.#inOrder(signal, () => this.#ask({ kind: ControlKind.pause, mode, signal }));
  }

  /** Throws where the engine is closed or has failed; nobody need wait for the rest. */
  continue(): void {
    this.#connection.checkUsable();
    this.#inOrder(undefined, () => this.#ask({ kind: ControlKind.continue })).catch(() => {});
  }

  async flushCache(): Promise<void> {
    await this.#inOrder(undefined, () => this.#ask({ kind: ControlKind.flush }));
  }

  #ask({ mode = "wait", signal, ...control }: Asked): Promise<NativeEvent> {
    return this.#connection.control({ running: Running[mode], ...control }, signal);
  }

  /** Runs `task` when all that was asked before is done: at once where that is so. An abort before that takes it back. */
  async #inOrder<T>(signal: AbortSignal | undefined, task: () => Promise<T>): Promise<T> {
    this.#connection.checkUsable();
    signal?.throwIfAborted();
    const own = this.#unfinished === 0 ? task() : this.#afterOthers(signal, task);
    ++this.#unfinished;
    this.#last = Promise.allSettled([this.#last, own]).then(() => --this.#unfinished);
    return own;
  }

  async #afterOthers<T>(signal: AbortSignal | undefined, task: () => Promise<T>): Promise<T> {
    let forget = (): void => {};
    const aborted = new Promise<never>((_, reject) => {
      forget = onAbort(signal, () => reject(signal?.reason));
    });
    await Promise.race([this.#last, aborted]);
    forget();
    return task();
  }
}

type Asked = Omit<NativeControl, "id" | "running"> & PauseOptions;
