/**
 * The native engine as TypeScript sees it: requests in, their events out. Main thread (or a worker's).
 *
 * Lifetime: the native side calls back through a WeakRef, and a strong reference (`busy`) is kept only while something
 * is under way: loading, open requests, closing. So an idle engine keeps neither the process alive nor itself from being
 * collected. Each open request hears of exactly one event with a `finish` other than none, and of nothing after it.
 */
import { type ErrorCode, type ErrorCounts, ErrorTally, LockstepError } from "./errors.js";
import {
  Column,
  Finish,
  type NativeControl,
  type NativeEngine,
  type NativeEngineSpec,
  type NativeEvent,
  type NativeLogprobs,
  type NativeRequest,
  type NativeStats,
  native,
  nativeError,
} from "./native.js";
import { onAbort } from "./signals.js";
import { forEachInTurns, TurnTimer } from "./turns.js";

/** What an engine step brought one request. */
export interface RequestEvent {
  token: number; // -1 = none
  finish: number; // Finish
  logprob: number;
  temperatureLogprob: number;
  samplingLogprob: number;
  /** Of prompt and resumed output, tokens found in the prefix cache; -1 where the request was never admitted. */
  cachedTokens: number;
  sampled?: NativeLogprobs | undefined;
  keptTokenIds?: Int32Array | undefined;
  scored?: NativeLogprobs | undefined;
  pooled?: Float64Array | undefined;
  error?: LockstepError | undefined;
  /** Of the weights that the step computed with. */
  weightVersion: number;
}

export type RequestListener = (event: RequestEvent) => void;

const busy = new Set<Connection>();

export class Connection {
  /** Set once loaded. */
  computePath = "";
  /** Of the KV cache; set once loaded. */
  numBlocks = 0;
  /** Of the weights in use. */
  weightVersion = 0;
  /** Asleep, and told to. */
  refusesRequests = false;
  /** Of the turns in which this engine's requests or events are worked on. */
  readonly turns = new TurnTimer();
  readonly #failed = new ErrorTally();
  readonly #native: NativeEngine;
  readonly #maxOpen: number;
  readonly #open = new Map<number, RequestListener>();
  readonly #controls = new Map<number, (answer: NativeEvent | LockstepError) => void>(); // not answered
  readonly #events: NativeEvent[] = []; // not handled to their end
  #nextId = 1;
  #failure: LockstepError | undefined;
  #closing: Promise<void> | undefined;
  #settleLoad: ((failure: LockstepError | undefined) => void) | undefined;
  #settleClose: (() => void) | undefined;

  /** Why the engine answers no request any more; undefined while it does, and where it was only closed. */
  get failure(): LockstepError | undefined {
    return this.#failure;
  }

  /** Starts loading. maxOpen: requests that may be open at once. */
  constructor(spec: NativeEngineSpec, maxOpen: number) {
    this.#maxOpen = maxOpen;
    const weak = new WeakRef(this);
    this.#native = new (native().NativeEngine)(spec, (event) => {
      const connection = weak.deref();
      if (connection) connection.#onEvent(event);
    });
  }

  /** Resolves when the weights are in place; rejects, and closes, where they cannot be. Call it once. */
  async loaded(): Promise<void> {
    this.#hold();
    const failure = await new Promise<LockstepError | undefined>((resolve) => {
      this.#settleLoad = resolve;
    });
    this.#release();
    if (!failure) return;
    await this.close();
    throw failure;
  }

  /** Throws where no request is taken now. */
  checkUsable(): void {
    this.checkOpen();
    if (this.refusesRequests)
      throw new LockstepError("ENGINE_ASLEEP", "The engine sleeps and refuses requests: call wake() first");
  }

  /** Throws where the engine answers nothing any more. */
  checkOpen(): void {
    if (this.#closing) throw new LockstepError("ENGINE_CLOSED", "The engine is closed");
    if (this.#failure) throw failedWith(this.#failure);
  }

  /** Returns the request's id, for `end`. */
  submit(request: Omit<NativeRequest, "id">, listener: RequestListener): number {
    this.checkUsable();
    if (this.#open.size >= this.#maxOpen)
      throw new LockstepError(
        "QUEUE_FULL",
        `Expected at most ${this.#maxOpen} requests at once (maxQueue) but this would be one more`,
      );
    const id = this.#nextId++;
    try {
      this.#native.submit({ ...request, id });
    } catch (error) {
      throw nativeError(error);
    }
    if (this.#isIdle) this.#hold();
    this.#open.set(id, listener);
    return id;
  }

  /** Ends a request before its own end, as stopped or as aborted. Its last event is still to come. */
  end(id: number, { stopped }: { stopped: boolean }): void {
    this.#native.end(id, stopped);
  }

  /**
   * Asks something of the engine as a whole. Rejects with its refusal, with why it failed or that it was closed, or, where
   * it had not begun when the signal was aborted, with the signal's reason.
   */
  async control(control: Omit<NativeControl, "id">, signal?: AbortSignal): Promise<NativeEvent> {
    this.checkOpen();
    signal?.throwIfAborted();
    const id = this.#nextId++;
    this.#native.control({ ...control, id });
    if (this.#isIdle) this.#hold();
    const forget = onAbort(signal, () => this.#native.cancel(id));
    const answer = await new Promise<NativeEvent | LockstepError>((resolve) => {
      this.#controls.set(id, resolve);
    });
    forget();
    if (answer instanceof LockstepError) throw answer;
    if (answer.code === "CANCELLED") throw signal?.reason;
    if (answer.code !== undefined) throw new LockstepError(answer.code as ErrorCode, answer.message ?? "");
    return answer;
  }

  stats(): NativeStats {
    return this.#native.stats();
  }

  /** Requests that were submitted and ended in an error. */
  failed(): ErrorCounts {
    return this.#failed.counts();
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#settleClose = resolve;
      this.#hold();
      this.#native.close();
    });
    return this.#closing;
  }

  get #isIdle(): boolean {
    return this.#open.size === 0 && this.#controls.size === 0;
  }

  #hold(): void {
    busy.add(this);
    this.#native.ref();
  }

  #release(): void {
    if (!this.#isIdle || this.#closing) return;
    busy.delete(this);
    this.#native.unref();
  }

  #onEvent(event: NativeEvent): void {
    this.turns.enter(event.conversionMs);
    this.#events.push(event);
    if (this.#events.length === 1) void this.#handleEvents();
  }

  /** In order: each waits for the rows before it, which take several turns where close() ends many requests. */
  async #handleEvents(): Promise<void> {
    for (let event = this.#events[0]; event; event = this.#events[0]) {
      await this.#dispatch(event);
      this.#handleKind(event);
      this.#events.shift();
    }
  }

  #handleKind(event: NativeEvent): void {
    if (event.kind === "loaded") {
      this.computePath = event.computePath ?? "";
      this.numBlocks = event.numBlocks ?? 0;
      this.#settleLoad?.(undefined);
    } else if (event.kind === "done") {
      this.weightVersion = event.weightVersion;
      this.#answer(event.control!, event);
      this.#release();
    } else if (event.kind === "failed") {
      this.#failure = new LockstepError(event.code as ErrorCode, event.message ?? "");
      this.#settleLoad?.(this.#failure);
      for (const id of this.#controls.keys()) this.#answer(id, failedWith(this.#failure));
      this.#release();
    } else if (event.kind === "closed") {
      busy.delete(this);
      this.#settleLoad?.(new LockstepError("ENGINE_CLOSED", "The engine was closed while it was loading"));
      for (const id of this.#controls.keys())
        this.#answer(id, new LockstepError("ENGINE_CLOSED", "The engine was closed before this was done"));
      this.#settleClose?.();
    }
  }

  #answer(control: number, answer: NativeEvent | LockstepError): void {
    this.#controls.get(control)?.(answer);
    this.#controls.delete(control);
  }

  /** Each row of the event to its request. */
  async #dispatch({ rows, details, weightVersion }: NativeEvent): Promise<void> {
    let nextDetail = 0;
    await forEachInTurns({ length: rows.length / Column.count }, (_, row) => {
      this.turns.enter();
      const column = (name: keyof typeof Column): number => rows[row * Column.count + Column[name]]!;
      const detail = details[nextDetail]?.row === row ? details[nextDetail++] : undefined;
      const id = column("id");
      const listener = this.#open.get(id);
      const finish = column("finish");
      if (finish !== Finish.none) this.#open.delete(id);
      const error =
        detail?.code === undefined
          ? undefined
          : this.#failed.add(new LockstepError(detail.code as ErrorCode, detail.message ?? ""));
      listener?.({
        token: column("token"),
        finish,
        logprob: column("logprob"),
        temperatureLogprob: column("temperatureLogprob"),
        samplingLogprob: column("samplingLogprob"),
        cachedTokens: column("cachedTokens"),
        sampled: detail?.sampled,
        keptTokenIds: detail?.keptTokenIds,
        scored: detail?.scored,
        pooled: detail?.pooled,
        error,
        weightVersion,
      });
    });
    if (rows.length > 0) this.#release();
  }
}

/** What an engine that has failed answers. */
function failedWith(failure: LockstepError): LockstepError {
  return new LockstepError("ENGINE_FAILED", failure.message, { cause: failure });
}
