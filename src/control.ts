/**
 * What is asked of an engine as a whole: pause, other weights, a look at them, sleep. One thing at a time, in the order of the
 * calls: each waits until the one before it is done. The engine thread does it, between two steps. Main thread (or a worker's).
 */
import { webcrypto } from "node:crypto";
import { abortSignal, checkOptions, integer, itemsOf, oneOf, type Schema } from "./check.js";
import type { Checkpoint } from "./checkpoint/checkpoint.js";
import type { Connection } from "./connection.js";
import { invalid, LockstepError } from "./errors.js";
import {
  ControlKind,
  type NativeControl,
  type NativeEvent,
  type NativeStagedWeights,
  Running,
} from "./native.js";
import { onAbort } from "./signals.js";
import { stageWeights } from "./weights.js";

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

export interface UpdateOptions extends PauseOptions {
  /** What the new weights are called: an integer in [0, 2^53). Default the present version + 1. */
  version?: number | undefined;
}

export interface SleepOptions extends PauseOptions {
  /** What stays in memory. Default nothing. */
  keep?: readonly "weights"[] | undefined;
  /** Requests that are made while the engine sleeps wait for wake(), or are refused with ENGINE_ASLEEP. Default "wait". */
  requests?: "wait" | "fail" | undefined;
}

export interface WeightInfo {
  /** As Hugging Face writes it, with "model." */
  name: string;
  shape: number[];
  /** As it is computed with. */
  dtype: "BF16";
  /** Of the values as they are computed with: the first 16 hex digits of the SHA-256 of their bytes, row-major, little-endian. */
  checksum: string;
}

export interface WeightData extends WeightInfo {
  /** BF16 bits, row-major: a copy. */
  data: Uint16Array<ArrayBuffer>;
}

const kPauseSchema: Schema<PauseOptions> = { mode: oneOf("wait", "abort", "continue"), signal: abortSignal };
const kVersion = integer(0, Number.MAX_SAFE_INTEGER);
const kUpdateSchema: Schema<UpdateOptions> = { ...kPauseSchema, version: kVersion };
const kSleepSchema: Schema<SleepOptions> = {
  ...kPauseSchema,
  keep: (value, where) => {
    if (!Array.isArray(value)) throw invalid("[] or ['weights']", where, value);
    return itemsOf(value, where, 8).map((item, i) => oneOf("weights")(item, `${where}[${i}]`));
  },
  requests: oneOf("wait", "fail"),
};

export class EngineControl {
  /** As far as this side has heard. */
  asleep = false;
  readonly #connection: Connection;
  readonly #loaded: Checkpoint;
  readonly #copyWeights: boolean;
  #reading: AbortController | undefined; // of weights, at present or before
  #unfinished = 0; // things asked and not done
  #last: Promise<unknown> = Promise.resolve(); // settles when the last of them is

  constructor(connection: Connection, loaded: Checkpoint, copyWeights: boolean) {
    this.#connection = connection;
    this.#loaded = loaded;
    this.#copyWeights = copyWeights;
  }

  async pause(options: PauseOptions | undefined): Promise<void> {
    const { mode, signal } = checkOptions(options, "pause options", kPauseSchema);
    await this.#inOrder(signal, () => this.#ask({ kind: ControlKind.pause, mode, signal }));
  }

  /** Throws where the engine is closed or has failed; nobody need wait for the rest. */
  continue(): void {
    this.#connection.checkOpen();
    this.#inOrder(undefined, () => this.#ask({ kind: ControlKind.continue })).catch(() => {});
  }

  async flushCache(): Promise<void> {
    await this.#inOrder(undefined, () => this.#ask({ kind: ControlKind.flush }));
  }

  async updateWeights(source: unknown, options: UpdateOptions | undefined): Promise<{ version: number }> {
    const { version, mode, signal } = checkOptions(options, "updateWeights options", kUpdateSchema);
    return this.#inOrder(signal, async () => {
      const weights = await this.#stage(source, signal);
      const next = kVersion(version ?? this.#connection.weightVersion + 1, "version");
      await this.#ask({ kind: ControlKind.update, mode, signal, weights, version: next });
      return { version: next };
    });
  }

  async #stage(source: unknown, signal: AbortSignal | undefined): Promise<NativeStagedWeights> {
    const reading = new AbortController();
    this.#reading = reading;
    const forget = onAbort(signal, () => reading.abort(signal?.reason));
    try {
      const [loaded, copy] = [this.#loaded, this.#copyWeights];
      return await stageWeights(source, { loaded, copy, signal: reading.signal });
    } finally {
      forget();
    }
  }

  weights(): Promise<WeightInfo[]> {
    return this.#inOrder(undefined, async () => {
      const list: WeightInfo[] = [];
      for (const { name } of this.#loaded.tensors) {
        const { data: _data, ...info } = await this.#weight(name);
        list.push(info);
      }
      return list;
    });
  }

  async weight(name: string): Promise<WeightData> {
    if (!this.#loaded.tensors.some((tensor) => tensor.name === name))
      throw invalid("the name of a tensor, as weights() lists them,", "name", name);
    return this.#inOrder(undefined, () => this.#weight(name));
  }

  async #weight(name: string): Promise<WeightData> {
    const { data } = await this.#ask({ kind: ControlKind.read, tensor: name });
    const digest = Buffer.from(await webcrypto.subtle.digest("SHA-256", data!)); // on another thread
    const { shape } = this.#loaded.tensors.find((tensor) => tensor.name === name)!;
    const checksum = digest.toString("hex", 0, 8);
    return { name, shape: [...shape], dtype: "BF16", checksum, data: new Uint16Array(data!) };
  }

  async sleep(options: SleepOptions | undefined): Promise<void> {
    const { keep, requests, mode, signal } = checkOptions(options, "sleep options", kSleepSchema);
    const keepWeights = keep?.includes("weights") ?? false;
    await this.#inOrder(signal, async () => {
      await this.#ask({ kind: ControlKind.sleep, mode, signal, keepWeights });
      this.asleep = true;
      this.#connection.refusesRequests = requests === "fail";
    });
  }

  async wake(): Promise<void> {
    await this.#inOrder(undefined, async () => {
      await this.#ask({ kind: ControlKind.wake });
      this.asleep = false;
      this.#connection.refusesRequests = false;
    });
  }

  /** What is being read for the engine need not be read to its end. */
  close(): void {
    this.#reading?.abort(new LockstepError("ENGINE_CLOSED", "The engine was closed before this was done"));
  }

  #ask({ mode = "wait", signal, ...control }: Asked): Promise<NativeEvent> {
    return this.#connection.control({ running: Running[mode], ...control }, signal);
  }

  /** Runs `task` when all that was asked before is done: at once where that is so. An abort before that takes it back. */
  async #inOrder<T>(signal: AbortSignal | undefined, task: () => Promise<T>): Promise<T> {
    this.#connection.checkOpen();
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
