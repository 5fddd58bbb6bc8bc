/**
 * A sample that was interrupted after any of its tokens and goes on is, bit for bit, the sample that was not: text,
 * logprobs, what ended it. Through Requests, since the public API resumes samples of rollouts only.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { Connection } from "../../src/connection.js";
import { ErrorTally } from "../../src/errors.js";
import { loadText, nativeSpec } from "../../src/load.js";
import { native } from "../../src/native.js";
import { checkSampling, engineLimits, type LoadOptions, type SamplingOptions } from "../../src/options.js";
import { checkPrompt } from "../../src/prompt.js";
import { Requests } from "../../src/requests.js";
import type { Continuation, Generation } from "../../src/stream.js";
import { kDemoModel, kTokens } from "./support.js";

let checkpoint: Checkpoint;
beforeAll(async () => {
  checkpoint = await openCheckpoint(kDemoModel);
});

class Subject {
  readonly #connection: Connection;
  readonly #requests: Requests;

  constructor(options: LoadOptions) {
    const limits = engineLimits(options, checkpoint, native().blockTokens, { ranks: 1, devices: [] });
    this.#connection = new Connection(nativeSpec(checkpoint, limits, options), limits.maxQueue);
    this.#requests = new Requests(this.#connection, limits, new ErrorTally());
  }

  async load(): Promise<this> {
    await this.#connection.loaded();
    this.#requests.text = await loadText(kDemoModel);
    return this;
  }

  stats = () => this.#connection.stats();
  close = () => this.#connection.close();

  stream(options: SamplingOptions, given?: Continuation) {
    const { config, generationConfig: defaults, eosTokenIds } = checkpoint;
    const { maxContext } = this.#requests.limits;
    const sampling = checkSampling(options, {
      vocabSize: config.vocabSize,
      defaults,
      eosTokenIds,
      maxContext,
    });
    const prompt = checkPrompt(kTokens, this.#requests.text, { vocabSize: config.vocabSize, maxContext });
    return this.#requests.generation(prompt, sampling, given);
  }

  run = (options: SamplingOptions, given?: Continuation) => this.stream(options, given).settled();
}

/** What an interruption after `count` tokens leaves. */
const cut = (generation: Generation, count: number): Continuation => ({
  tokens: generation.tokens.slice(0, count),
  ...Object.fromEntries(
    (["logprobs", "temperatureLogprobs", "samplingLogprobs", "topLogprobs", "keptTokenIds"] as const)
      .filter((key) => generation[key])
      .map((key) => [key, generation[key]!.slice(0, count)]),
  ),
});

/** All of it but how much of its prompt was cached. */
const whatCounts = ({ usage: { cachedTokens: _, ...usage }, ...rest }: Generation) => ({ ...rest, usage });

const kSampled = {
  temperature: 1.2,
  seed: 5,
  sampleIndex: 2,
  ignoreEos: true,
  maxTokens: 50,
  logprobs: true,
};
const kPenalties = { repetitionPenalty: 1.3, presencePenalty: 0.4, frequencyPenalty: 0.3 };

let subject: Subject;
let full: Generation; // of kSampled
beforeAll(async () => {
  subject = await new Subject({ threads: 1, maxBatchTokens: 24 }).load();
  full = await subject.run(kSampled);
});
afterAll(() => subject.close());

/** Resumes after every token of the uninterrupted sample, all at once. Returns that one. */
async function resumeEverywhere(options: SamplingOptions, on = subject): Promise<Generation> {
  const whole = await on.run(options);
  const counts = Array.from({ length: whole.tokens.length + 1 }, (_, count) => count);
  const resumed = await Promise.all(counts.map((count) => on.run(options, cut(whole, count))));
  for (const [count, generation] of resumed.entries())
    expect(whatCounts(generation), `after ${count}`).toEqual(whatCounts(whole));
  return whole;
}

describe("a resumed sample is the uninterrupted one", () => {
  it("greedy, with lists of logprobs", async () => {
    const whole = await resumeEverywhere({
      temperature: 0,
      seed: 1,
      maxTokens: 40,
      logprobs: true,
      topLogprobs: 3,
    });
    expect(whole.topLogprobs?.length).toBe(whole.tokens.length);
  });

  it("seeded, with penalties that count its output, and filters", async () => {
    const whole = await resumeEverywhere({
      ...kSampled,
      ...kPenalties,
      topK: 50,
      topP: 0.95,
      keptTokenIds: true,
    });
    expect(whole.tokens).not.toEqual(full.tokens);
    expect(whole.finishReason).toBe("length");
  });

  it("with minTokens that mask EOS and stop ids", async () => {
    const stopTokenIds = full.tokens.slice(0, 12);
    const whole = await resumeEverywhere({ ...kSampled, ignoreEos: false, minTokens: 9, stopTokenIds });
    expect(whole.finishReason).toBe("stop");
    expect(whole.tokens.length).toBeGreaterThan(9);
  });

  it.each([false, true])(
    "with a stop string across the interruption (includeStop: %s)",
    async (includeStop) => {
      const stop = full.text.slice(-40, -20);
      const whole = await resumeEverywhere({ ...kSampled, stop, includeStop });
      expect(whole).toMatchObject({ finishReason: "stop", stop });
      expect(whole.text.endsWith(stop)).toBe(includeStop);
    },
  );

  it("with a stop id that has a text, and is not shown", async () => {
    const id = full.tokens.find((token, i) => i > 10 && !full.tokens.slice(0, i).includes(token))!;
    const whole = await resumeEverywhere({ ...kSampled, stopTokenIds: [id] });
    expect(whole).toMatchObject({ finishReason: "stop", stop: id });
    expect(full.text.startsWith(whole.text)).toBe(true);
  });

  it("with forced tokens", async () => {
    const whole = await resumeEverywhere({ ...kSampled, forcedTokens: full.tokens.slice(5, 25) });
    expect(whole.tokens.slice(0, 20)).toEqual(full.tokens.slice(5, 25));
  });

  it("on a pool so tight that resumed samples are preempted and computed again", async () => {
    const tight = await new Subject({ threads: 1, kvCacheTokens: 160, maxBatchTokens: 24 }).load();
    await resumeEverywhere({ ...kSampled, ...kPenalties, maxTokens: 120 }, tight);
    expect(tight.stats().preemptions).toBeGreaterThan(5);
    await tight.close();
  });
});

describe("what was there already", () => {
  it("is not sampled again, is found in the prefix cache, and counts as a prompt in stats()", async () => {
    const fresh = await new Subject({ threads: 1, maxBatchTokens: 24 }).load();
    const given = cut(full, 41);
    expect((await fresh.run(kSampled, given)).usage.cachedTokens).toBe(0);
    expect(fresh.stats()).toMatchObject({ generatedTokens: 9, promptTokens: 7 + 41, computedTokens: 7 + 49 });
    const { usage } = await fresh.run(kSampled, given);
    expect(usage).toEqual({ promptTokens: 7, completionTokens: 50, cachedTokens: 32 });
    await fresh.close();
  });

  it("is in no chunk of the stream, and in what an abort leaves", async () => {
    const stream = subject.stream(kSampled, cut(full, 20));
    const first = await stream.next();
    expect(first.value?.tokens).toEqual(full.tokens.slice(20, 20 + first.value!.tokens.length));
    stream.abort();
    const aborted = await stream.settled();
    expect(aborted.tokens).toEqual(full.tokens.slice(0, aborted.tokens.length));
    expect(aborted.logprobs).toEqual(full.logprobs!.slice(0, aborted.tokens.length));

    const signal = AbortSignal.abort();
    const never = await subject.run({ ...kSampled, signal }, cut(full, 20));
    expect(never).toMatchObject({ finishReason: "abort", tokens: full.tokens.slice(0, 20) });
  });

  it("ends the sample without a step where it is complete", async () => {
    const { steps } = subject.stats();
    const longer = await subject.run({ ...kSampled, maxTokens: 10 }, cut(full, 30));
    expect(longer).toMatchObject({ finishReason: "length", tokens: full.tokens.slice(0, 30) });
    const stopped = await subject.run({ ...kSampled, stopTokenIds: [full.tokens[29]!] }, cut(full, 30));
    expect(stopped).toMatchObject({ finishReason: "stop", stop: full.tokens[29] });
    expect(subject.stats().steps).toBe(steps);
  });

  it("must have the logprobs that are asked for", async () => {
    const { error } = await subject.run(kSampled, { ...cut(full, 20), logprobs: full.logprobs! });
    expect(error).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("(20) for logprobs"),
    });
  });
});
