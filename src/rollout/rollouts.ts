/**
 * The handle of a run: feeds requests to the engine as it can play them, and hands out samples as they are finished.
 * Main thread. Samples that run are at most `concurrency`, and those that were started and not taken at most twice as many:
 * a slow consumer, or slow rewards, hold the feeding back, and so does a source that has no request yet.
 *
 * What could go wrong:
 * - a request of an array is wrong: the run ends before anything is started; one of an iterable: a sample with that `error`;
 * - the source throws, or the engine is closed: nothing more is started, what runs comes out, then the error is thrown;
 * - the consumer leaves: everything is aborted, and return() waits until the engine has let go of it, not for callbacks.
 */
import { itemsOf, reading } from "../check.js";
import { asLockstepError, invalid, LockstepError } from "../errors.js";
import { onAbort } from "../signals.js";
import { mapInTurns, ownTurn } from "../turns.js";
import { answerOf, failed } from "./callbacks.js";
import { Episode } from "./episode.js";
import {
  type CheckedRequest,
  checkRequest,
  checkRunOptions,
  type RunOptions,
  refusedSample,
} from "./options.js";
import type { RolloutEngine } from "./rollout-engine.js";
import { copyOf } from "./sample.js";
import type { CancelVerdict, RolloutRequest, RolloutSample, RolloutStats, RunningSample } from "./types.js";

/** Of an array: as many as prompts in a call of generate(). */
const kMaxRequests = 1_000_000;

export type RolloutRequests =
  | readonly RolloutRequest[]
  | Iterable<RolloutRequest>
  | AsyncIterable<RolloutRequest>;

/** The samples of a request. */
class Group {
  cancelled = false;
  /** Those that ended by themselves, where a cancelGroup wants them. */
  readonly finished: RolloutSample[] = [];
  constructor(readonly request: CheckedRequest) {}
}

/** An episode that has not come out. */
interface Running {
  group: Group;
  ended: Promise<void>;
}

/** Samples in the order of their completion, for one consumer. */
export class Rollouts implements AsyncIterableIterator<RolloutSample> {
  readonly #engine: RolloutEngine;
  readonly #options: RunOptions;
  readonly #source: AsyncGenerator<CheckedRequest | RolloutSample, void, void>;
  readonly #running = new Map<Episode, Running>();
  readonly #ready: RolloutSample[] = [];
  readonly #bell = new Bell(); // whatever changes
  readonly #counts = { finished: 0, aborted: 0, failed: 0, generatedTokens: 0 };
  #playing = 0;
  #fed = false; // nothing more is started
  #dropped = false; // the consumer has left
  #failure: LockstepError | undefined;
  #forget = (): void => {};

  /** @internal */
  constructor(engine: RolloutEngine, requests: unknown, options: unknown) {
    this.#engine = engine;
    engine.checkUsable();
    this.#options = checkRunOptions(engine, options);
    this.#source = checked(engine, this.#options, requests);
    const { signal } = this.#options;
    this.#forget = onAbort(signal, () => void this.abort());
    if (signal?.aborted) this.#stopFeeding();
    else void this.#feed();
  }

  /**
   * Ends the episodes that `filter` chooses; without one all, and nothing more is started. They come out with what they have
   * and finishReason "abort"; those that are over and wait for their reward come out with it. Resolves when all that is done.
   */
  async abort(filter?: (sample: RunningSample) => boolean): Promise<void> {
    if (filter !== undefined && typeof filter !== "function")
      throw invalid("a function", "abort's filter", filter);
    const chosen = [...this.#running].filter(([{ sample }]) => !filter || chooses(filter, sample));
    if (!filter) this.#stopFeeding();
    for (const [episode] of chosen) episode.abort();
    await Promise.all(chosen.map(([, { ended }]) => ended));
  }

  /** Synchronous. */
  stats(): RolloutStats {
    const { finished, aborted, failed } = this.#counts;
    return {
      ...this.#counts,
      started: finished + aborted + failed + this.#running.size,
      inFlight: this.#running.size,
      waitingForConsumer: this.#ready.length,
    };
  }

  async next(): Promise<IteratorResult<RolloutSample, undefined>> {
    for (;;) {
      const sample = this.#ready.shift();
      if (sample) {
        this.#bell.ring(); // room for another
        return { done: false, value: sample };
      }
      if (this.#dropped || (this.#fed && this.#running.size === 0)) {
        const failure = this.#failure;
        this.#failure = undefined;
        if (failure && !this.#dropped) throw failure;
        return { done: true, value: undefined };
      }
      await this.#bell.rung();
    }
  }

  /** Leaving the loop: aborts what is in flight, and resolves when the engine has let go of it. */
  async return(): Promise<IteratorResult<RolloutSample, undefined>> {
    this.#dropped = true;
    this.#stopFeeding();
    for (const episode of this.#running.keys()) episode.drop();
    await Promise.all(Array.from(this.#running.values(), ({ ended }) => ended));
    this.#ready.length = 0;
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #feed(): Promise<void> {
    try {
      for (;;) {
        await this.#room();
        if (this.#fed) return;
        const { done, value } = await this.#source.next();
        if (this.#fed || done) return;
        if ("tokens" in value) this.#comesOut(value);
        else await this.#startGroup(new Group(value));
      }
    } catch (error) {
      if (!this.#fed) this.#failure = asLockstepError(error);
    } finally {
      this.#stopFeeding();
    }
  }

  async #startGroup(group: Group): Promise<void> {
    for (let k = 0; k < group.request.n; ++k) {
      await this.#room();
      if (this.#fed || group.cancelled) return;
      this.#start(group, k);
      await ownTurn();
    }
  }

  /** Resolves when one more may be started, or nothing more will be. */
  async #room(): Promise<void> {
    const { concurrency } = this.#options;
    const full = (): boolean =>
      this.#playing >= concurrency || this.#running.size + this.#ready.length >= 2 * concurrency;
    while (!this.#fed && full()) await this.#bell.rung();
    if (!this.#fed) this.#engine.checkUsable();
  }

  #start(group: Group, k: number): void {
    const { first, sampling, ...plan } = group.request;
    const sampleIndex = first.sampleIndex + k;
    const episode = new Episode(
      this.#engine,
      { ...plan, sampling: { ...sampling, sampleIndex }, callbackTimeoutMs: this.#options.callbackTimeoutMs },
      { ...copyOf(first), sampleIndex },
    );
    this.#running.set(episode, { group, ended: this.#follow(episode, group) });
  }

  async #follow(episode: Episode, group: Group): Promise<void> {
    ++this.#playing;
    await episode.play();
    --this.#playing;
    this.#bell.ring();
    await episode.judge();
    this.#running.delete(episode);
    this.#comesOut(episode.sample, group);
  }

  #comesOut(sample: RolloutSample, group?: Group): void {
    const counts = this.#counts;
    counts.generatedTokens += sample.usage.completionTokens;
    if (group && isFinished(sample) && !this.#dropped) this.#consider(sample, group, counts.finished + 1);
    if (sample.error) ++counts.failed;
    else if (isFinished(sample)) ++counts.finished;
    else ++counts.aborted;
    if (!this.#dropped) this.#ready.push(sample);
    this.#changed();
  }

  /** Cancels what a finished sample makes superfluous. */
  #consider(sample: RolloutSample, group: Group, finished: number): void {
    const { cancelGroup } = this.#options;
    if (!cancelGroup) return;
    group.finished.push(sample);
    let verdict: CancelVerdict;
    try {
      const context = { group: [...group.finished], finished };
      verdict = answerOf("cancelGroup", "'group', 'run' or false", kVerdicts, () =>
        cancelGroup(sample, context),
      );
    } catch (thrown) {
      const { code, message } = asLockstepError(thrown);
      sample.error = { code, message };
    }
    if (verdict === "run") void this.abort();
    if (verdict !== "group") return;
    group.cancelled = true;
    for (const [episode, running] of this.#running) if (running.group === group) episode.abort();
  }

  #stopFeeding(): void {
    this.#fed = true;
    this.#source.return().catch(() => {}); // the caller's own clean-up; nobody waits for what it says
    this.#changed();
  }

  #changed(): void {
    if (this.#fed && this.#running.size === 0) this.#forget();
    this.#bell.ring();
  }
}

const isFinished = ({ finishReason, error }: RolloutSample): boolean => finishReason !== "abort" && !error;

/** Wakes whoever waits for a change. */
class Bell {
  #waiting: (() => void)[] = [];

  rung(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  ring(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

const kVerdicts: readonly CancelVerdict[] = ["group", "run", false, null, undefined];

function chooses(filter: (sample: RunningSample) => boolean, sample: RolloutSample): boolean {
  const { groupIndex, sampleIndex, seed, metadata, responseLength, turns } = sample;
  const known = { groupIndex, sampleIndex, seed, metadata, responseLength, turns };
  return answerOf("abort's filter", "a boolean", [true, false], () => filter(known));
}

/** The requests, checked: those of an array all at once, others as they are asked for. Throws where there are none to be had. */
function checked(
  engine: RolloutEngine,
  options: RunOptions,
  requests: unknown,
): AsyncGenerator<CheckedRequest | RolloutSample, void, void> {
  return reading("requests", () => {
    if (Array.isArray(requests)) {
      const items = itemsOf(requests, "requests", kMaxRequests, "requests in a run");
      const all = checkAll(engine, options, items);
      all.catch(() => {}); // whoever reads the samples hears of it
      return ofArray(all);
    }
    const source = requests as Partial<AsyncIterable<unknown> & Iterable<unknown>> | null | undefined;
    if (typeof source !== "object" || !(source?.[Symbol.asyncIterator] ?? source?.[Symbol.iterator]))
      throw invalid("an array or an iterable of requests", "requests", requests);
    return ofIterable(engine, options, source as AsyncIterable<unknown>);
  });
}

async function* ofArray(requests: Promise<CheckedRequest[]>): AsyncGenerator<CheckedRequest, void, void> {
  yield* await requests;
}

/** Begins at once, as generate() does; the rest in turns. */
async function checkAll(
  engine: RolloutEngine,
  options: RunOptions,
  items: readonly unknown[],
): Promise<CheckedRequest[]> {
  const requests = await mapInTurns(items, (item, i) => {
    try {
      return checkRequest(engine, options, item, i);
    } catch (error) {
      throw ofRequest(i, error);
    }
  });
  for (const [i, { encoding }] of requests.entries())
    await encoding.rendering?.catch((error) => {
      throw ofRequest(i, error);
    });
  return requests;
}

async function* ofIterable(
  engine: RolloutEngine,
  options: RunOptions,
  source: AsyncIterable<unknown>,
): AsyncGenerator<CheckedRequest | RolloutSample, void, void> {
  let place = 0;
  try {
    for await (const item of source) {
      let request: CheckedRequest | RolloutSample;
      try {
        request = checkRequest(engine, options, item, place);
      } catch (error) {
        request = refusedSample(engine, options, place, asLockstepError(error));
      }
      ++place;
      yield request;
    }
  } catch (thrown) {
    throw failed("the iterable of requests", thrown);
  }
}

/** A refusal, after the request's place. */
function ofRequest(index: number, error: unknown): LockstepError {
  const { code, message, cause } = asLockstepError(error);
  return new LockstepError(code, `requests[${index}]: ${message}`, { cause });
}
