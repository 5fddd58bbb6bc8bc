/** Single-turn rollouts: groups, seeds, feeding and its bounds, leaving and aborting, sources that fail. */
import { setTimeout as sleep } from "node:timers/promises";
import { Engine, LockstepError, type RolloutRequest, type RolloutSample, type Rollouts } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { collect, faults, kChat, kDemoModel, until, whatCounts, withEngine } from "./support.js";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(kDemoModel, { threads: 1, maxSequences: 16 });
});
afterAll(() => engine.close());

const kShort = { sampling: { temperature: 1, maxTokens: 24 } };

/** Goes on for as long as it is let. */
const kEndless = { sampling: { temperature: 1, ignoreEos: true } };
const idle = (): boolean => engine.stats().running + engine.stats().queue === 0;

/** Endless requests, and how many of them were asked for. */
function source(count = Number.POSITIVE_INFINITY, n = 1) {
  const state = { pulled: 0, returned: false };
  async function* requests(): AsyncGenerator<RolloutRequest> {
    try {
      while (state.pulled < count) {
        ++state.pulled;
        yield { prompt: kChat, n };
      }
    } finally {
      state.returned = true;
    }
  }
  return { state, requests: requests() };
}

describe("a group", () => {
  it("has n different texts, and is the same set whenever its seed is given", async () => {
    const request = { prompt: kChat, n: 8, sampling: { seed: 11 }, metadata: { task: "a" } };
    const samples = await collect(engine.rollouts([request], kShort));
    expect(new Set(samples.map(({ text }) => text)).size).toBe(8);
    expect(samples.map(({ sampleIndex }) => sampleIndex)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    for (const sample of samples) {
      expect(faults(sample)).toEqual([]);
      expect(sample).toMatchObject({ seed: 11, metadata: { task: "a" }, turns: 1, prompt: kChat.messages });
      expect(sample.computePath).toBe(engine.computePath);
    }
    const again = await collect(engine.rollouts([request, request], kShort));
    expect(again.slice(0, 8).map(whatCounts)).toEqual(samples.map(whatCounts));
    expect(again.slice(8).map(whatCounts)).toEqual(samples.map(whatCounts));
  });

  it("is what generate gives for the seed", async () => {
    const sampling = { temperature: 1, topK: 20, keptTokenIds: true, maxTokens: 24 };
    const [sample] = await collect(engine.rollouts([{ prompt: kChat, n: 1 }], { sampling }));
    const { seed } = sample!;
    const options = { ...sampling, seed, logprobs: true };
    const generation = await engine.generate(kChat, options);
    expect(sample).toMatchObject({
      tokens: [...sample!.tokens.slice(0, -sample!.responseLength), ...generation.tokens],
      logprobs: generation.logprobs,
      temperatureLogprobs: generation.temperatureLogprobs,
      samplingLogprobs: generation.samplingLogprobs,
      keptTokenIds: generation.keptTokenIds,
      text: generation.text,
      usage: { promptTokens: generation.usage.promptTokens },
    });
  });

  it("reproduces each sample alone from what the sample says", async () => {
    const sampling = { temperature: 1.2, topK: 50, stop: ["e "], logitBias: { 5: -Infinity, 82: 1.5 } };
    const options = {
      sampling: { ...sampling, maxTokens: 24, frequencyPenalty: 0.3 },
      maxResponseTokens: 20,
    };
    const samples = await collect(engine.rollouts([{ prompt: kChat, n: 4 }], options));
    for (const { seed, sampleIndex, prompt, sampling, ...sample } of JSON.parse(JSON.stringify(samples))) {
      const request = { prompt: { messages: prompt }, sampling: { ...sampling, seed, sampleIndex } };
      const [alone] = await collect(
        engine.rollouts([request], { maxResponseTokens: sample.maxResponseTokens }),
      );
      expect(whatCounts(alone!)).toEqual(whatCounts({ ...sample, seed, sampleIndex, prompt, sampling }));
    }
  });

  it("draws a seed of its own, or takes its place in the run's", async () => {
    const two = [{ prompt: kChat }, { prompt: kChat }];
    const [a, b] = await collect(engine.rollouts(two, kShort));
    expect(a!.seed).not.toBe(b!.seed);
    const [c, d] = await collect(engine.rollouts(two, { ...kShort, seed: 2 ** 53 - 1 }));
    expect([c!.seed, d!.seed]).toEqual([2 ** 53 - 1, 0]);
    expect(c!.text).not.toBe(d!.text);
  });
});

describe("feeding", () => {
  it("plays no more than concurrency at once, and pulls requests as it can play them", async () => {
    await withEngine({ threads: 1 }, async (fresh) => {
      const { state, requests } = source(12);
      const run = fresh.rollouts(requests, { ...kShort, concurrency: 3 });
      let taken = 0;
      for await (const { error } of run) {
        expect(error).toBeUndefined();
        ++taken;
        const { started, inFlight, waitingForConsumer, finished, generatedTokens } = run.stats();
        expect(started - taken).toBe(inFlight + waitingForConsumer);
        expect(started - taken).toBeLessThanOrEqual(6);
        expect(state.pulled - started).toBeLessThanOrEqual(1);
        expect(finished).toBe(taken + waitingForConsumer);
        expect(generatedTokens).toBeGreaterThanOrEqual(taken);
      }
      expect(taken).toBe(12);
      expect(fresh.stats().maxBatch).toBeLessThanOrEqual(3);
    });
  });

  it("waits for a slow consumer: what was started and not taken is at most twice concurrency", async () => {
    const { state, requests } = source();
    const run = engine.rollouts(requests, { ...kShort, concurrency: 2 });
    await until(() => run.stats().waitingForConsumer === 4, "four samples wait");
    await sleep(50);
    expect(run.stats()).toMatchObject({ started: 4, inFlight: 0, waitingForConsumer: 4, finished: 4 });
    expect(state.pulled).toBe(4);
    for (let i = 0; i < 3; ++i) await run.next();
    await until(() => run.stats().waitingForConsumer === 4, "others take their places");
    expect(state.pulled).toBe(7);
    await run.return();
    expect(state.returned).toBe(true);
  });

  it("takes arrays, generators and streams of requests, and none", async () => {
    const requests = [{ prompt: kChat }, { prompt: kChat, n: 2 }];
    const sources = [
      requests,
      new Set(requests),
      (function* () {
        yield* requests;
      })(),
      ReadableStream.from(requests),
    ];
    for (const one of sources)
      expect(
        (await collect(engine.rollouts(one as RolloutRequest[], kShort))).map(({ groupIndex }) => groupIndex),
      ).toEqual([0, 1, 1]);
    expect(await collect(engine.rollouts([], kShort))).toEqual([]);
  });

  it("serves several reads at once, each sample to one of them", async () => {
    const run = engine.rollouts([{ prompt: kChat, n: 2 }], kShort);
    const reads = await Promise.all([run.next(), run.next(), run.next()]);
    expect(reads.map(({ done }) => done)).toEqual([false, false, true]);
    expect(reads[0]!.value).not.toBe(reads[1]!.value);
  });

  it("does not hear of what becomes of a prompt later", async () => {
    const messages = [...kChat.messages];
    const run = engine.rollouts([{ prompt: { messages } }], kShort);
    messages.push({ role: "user", content: "and lock the door" });
    expect((await collect(run))[0]!.prompt).toEqual(kChat.messages);
  });

  it("refuses an array whole where a request is wrong, before anything runs", async () => {
    const { promptTokens } = engine.stats();
    const run = engine.rollouts([{ prompt: kChat }, { prompt: kChat, n: 0 }], kShort);
    await expect(run.next()).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/^requests\[1\]: .*n but received 0/),
    });
    expect(await run.next()).toEqual({ done: true, value: undefined });
    expect(engine.stats().promptTokens).toBe(promptTokens);
  });

  it("makes of a wrong request of an iterable a sample with its error, and goes on", async () => {
    const requests = [{ prompt: "a" }, { prompt: "a", sampling: { topP: 2 } }, 7, { prompt: "b" }];
    const samples = await collect(engine.rollouts(new Set(requests) as Set<RolloutRequest>, kShort));
    expect(samples.map(({ groupIndex, error }) => [groupIndex, error?.code])).toEqual([
      [0, undefined],
      [1, "INVALID_ARGUMENT"],
      [2, "INVALID_ARGUMENT"],
      [3, undefined],
    ]);
    expect(samples[1]).toMatchObject({
      tokens: [],
      finishReason: "abort",
      error: { message: expect.stringMatching(/topP/) },
    });
    expect(faults(samples[1]!)).toEqual([]);
  });

  it("gives prompts that cannot be encoded, or do not fit, an error each", async () => {
    const requests = [{ prompt: { tokens: Array(5000).fill(1) }, n: 2 }, { prompt: "ok" }];
    const samples = await collect(engine.rollouts(requests, kShort));
    expect(samples.map(({ error }) => error?.code)).toEqual([
      "PROMPT_TOO_LONG",
      "PROMPT_TOO_LONG",
      undefined,
    ]);
  });

  it("ends with a source's error when what runs has come out", async () => {
    async function* failing(): AsyncGenerator<RolloutRequest> {
      yield { prompt: kChat, n: 3 };
      throw new Error("the file ended");
    }
    const samples: RolloutSample[] = [];
    const reading = (async () => {
      for await (const sample of engine.rollouts(failing(), kShort)) samples.push(sample);
    })();
    await expect(reading).rejects.toMatchObject({
      code: "CALLBACK_FAILED",
      message: "Expected the iterable of requests to return but it threw: the file ended",
    });
    expect(samples.map(({ error, turns }) => [error, turns])).toEqual(Array(3).fill([undefined, 1]));
  });
});

describe("leaving", () => {
  it("the loop aborts what is in flight, and the engine has let go of it", async () => {
    const { state, requests } = source();
    for await (const sample of engine.rollouts(requests, {
      ...kEndless,
      concurrency: 4,
      maxResponseTokens: 300,
    })) {
      expect(sample.finishReason).toBe("length");
      break;
    }
    expect(idle()).toBe(true);
    expect(state.returned).toBe(true);
    expect(state.pulled).toBeLessThan(12);
  });

  it("does not wait for callbacks that never settle", async () => {
    const signals: AbortSignal[] = [];
    const stuck = (_: unknown, { signal }: { signal: AbortSignal }) => {
      signals.push(signal);
      return new Promise<never>(() => {});
    };
    const options = { sampling: { stop: " ", maxTokens: 400 } };
    const run = engine.rollouts(
      [
        { prompt: "Done: the", turn: stuck },
        { prompt: "Done: the", reward: stuck },
      ],
      options,
    );
    await until(() => signals.length === 2, "callbacks are called");
    await run.return();
    expect(signals.every(({ aborted }) => aborted)).toBe(true);
    expect(await run.next()).toEqual({ done: true, value: undefined });
  });
});

describe("abort", () => {
  const playing = async (run: Rollouts, count: number): Promise<void> => {
    const { generatedTokens } = engine.stats();
    await until(
      () => run.stats().inFlight === count && engine.stats().generatedTokens > generatedTokens + 5 * count,
      "they run",
    );
  };

  it("ends all: they come out with what they have, and nothing more is started", async () => {
    const { state, requests } = source();
    const run = engine.rollouts(requests, { ...kEndless, concurrency: 4 });
    await playing(run, 4);
    await run.abort();
    expect(idle()).toBe(true);
    expect(run.stats()).toMatchObject({ started: 4, aborted: 4, inFlight: 0, waitingForConsumer: 4 });
    const samples = await collect(run);
    expect(samples).toHaveLength(4);
    for (const sample of samples) {
      expect(faults(sample)).toEqual([]);
      expect(sample.finishReason).toBe("abort");
      expect(sample.error).toBeUndefined();
    }
    expect(samples.some(({ responseLength }) => responseLength > 5)).toBe(true);
    expect(state).toEqual({ pulled: 4, returned: true });
  });

  it("ends those that a filter chooses, and others take their places", async () => {
    const { requests } = source(6);
    const run = engine.rollouts(requests, { ...kEndless, concurrency: 4 });
    await playing(run, 4);
    await run.abort(({ groupIndex, responseLength, turns }) => {
      expect([responseLength, turns]).toEqual([0, 0]); // counted at the end of a turn
      return groupIndex < 2;
    });
    expect(run.stats()).toMatchObject({ aborted: 2, waitingForConsumer: 2 });
    await until(() => run.stats().inFlight === 4, "the last two are started");
    await run.abort();
    const samples = await collect(run);
    expect(samples.map(({ groupIndex }) => groupIndex)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it("refuses a filter that is none, or throws, and aborts nothing then", async () => {
    const run = engine.rollouts(source(2).requests, { ...kEndless, maxResponseTokens: 60 });
    await expect(run.abort(7 as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await until(() => run.stats().inFlight === 2, "they run");
    const failing = run.abort(() => {
      throw new Error("no");
    });
    await expect(failing).rejects.toMatchObject({ code: "CALLBACK_FAILED" });
    const asynchronous = run.abort((async () => true) as never);
    await expect(asynchronous).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect((await collect(run)).map(({ finishReason }) => finishReason)).toEqual(["length", "length"]);
  });

  it("by signal is the same, and a signal that was aborted before starts nothing", async () => {
    const controller = new AbortController();
    const run = engine.rollouts(source().requests, {
      ...kEndless,
      concurrency: 2,
      signal: controller.signal,
    });
    await playing(run, 2);
    controller.abort();
    expect((await collect(run)).map(({ finishReason }) => finishReason)).toEqual(["abort", "abort"]);
    const { state, requests } = source();
    expect(await collect(engine.rollouts(requests, { signal: controller.signal }))).toEqual([]);
    expect(state.pulled).toBe(0);
  });

  it("ends a run whose source never answers", async () => {
    async function* silent(): AsyncGenerator<RolloutRequest> {
      yield { prompt: kChat };
      await new Promise(() => {});
    }
    const run = engine.rollouts(silent(), kShort);
    expect((await run.next()).done).toBe(false);
    const end = run.next();
    await run.abort();
    expect((await end).done).toBe(true);
  });
});

describe("an engine that is closed", () => {
  it("takes no rollouts", async () => {
    const closed = await Engine.load(kDemoModel, { threads: 1 });
    await closed.close();
    expect(() => closed.rollouts([{ prompt: kChat }])).toThrowError(LockstepError);
  });

  it("while a run goes on ends it: samples with the error, then the error", async () => {
    const other = await Engine.load(kDemoModel, { threads: 1 });
    const { requests } = source();
    const run = other.rollouts(requests, { ...kEndless, concurrency: 3 });
    await until(() => run.stats().inFlight === 3, "they run");
    await other.close();
    const samples: RolloutSample[] = [];
    const reading = (async () => {
      for await (const sample of run) samples.push(sample);
    })();
    await expect(reading).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
    expect(samples.map(({ error }) => error?.code)).toEqual(Array(3).fill("ENGINE_CLOSED"));
    expect(run.stats()).toMatchObject({ failed: 3, inFlight: 0 });
  });
});

describe("bad input", () => {
  const kBad: [string, unknown, unknown, RegExp][] = [
    ["no requests", undefined, {}, /an array or an iterable of requests.*requests/],
    ["a request alone", { prompt: "a" }, {}, /an array or an iterable/],
    ["a text", "abc", {}, /an array or an iterable/],
    ["an unknown option", [], { rewards: () => 1 }, /did you mean reward\?/],
    ["n of 0", [], { n: 0 }, /an integer in \[1, 65536\] for n/],
    ["a seed beyond 2^53", [], { seed: 2 ** 53 }, /for seed/],
    ["a seed for all in sampling", [], { sampling: { seed: 1 } }, /no seed \(all requests would share it/],
    ["n in sampling", [], { sampling: { n: 2 } }, /no n \(it is the request's own/],
    ["forced tokens", [], { sampling: { forcedTokens: [1] } }, /no forcedTokens/],
    ["bad sampling", [], { sampling: { temperature: "1" } }, /for temperature/],
    ["sampling that is none", [], { sampling: [] }, /an object for sampling/],
    ["a callback that is none", [], { turn: {} }, /a function for turn/],
    ["a budget of 0", [], { maxResponseTokens: 0 }, /for maxResponseTokens/],
    ["a concurrency of 0", [], { concurrency: 0 }, /for concurrency/],
    ["a timeout that no timer takes", [], { callbackTimeoutMs: 2 ** 31 }, /for callbackTimeoutMs/],
    [
      "a getter that throws",
      [],
      {
        get n(): number {
          throw new Error("no");
        },
      },
      /that can be read.*: no/,
    ],
  ];
  it.each(kBad)("refuses %s at once", (_, requests, options, message) => {
    expect(() => engine.rollouts(requests as never, options as never)).toThrowError(message);
  });

  const kBadRequests: [string, unknown, RegExp][] = [
    ["nothing", undefined, /an object for request/],
    ["no prompt", {}, /a string or an object with text, tokens or messages for prompt/],
    ["an empty prompt", { prompt: "" }, /a non-empty text/],
    ["an unknown key", { prompt: "a", metadat: 1 }, /did you mean metadata\?/],
    ["a seed that is none", { prompt: "a", sampling: { seed: -1 } }, /for seed/],
    [
      "more samples than the seed has",
      { prompt: "a", n: 2, sampling: { sampleIndex: 2 ** 32 - 1 } },
      /sampleIndex \+ n/,
    ],
    ["a reward that is none", { prompt: "a", reward: 1 }, /a function for reward/],
    ["a bad message", { prompt: { messages: [{ role: 1 }] } }, /messages\[0\]\.role/],
  ];
  it.each(kBadRequests)("refuses a request of %s", async (_, request, message) => {
    const run = engine.rollouts([request as RolloutRequest], kShort);
    await expect(run.next()).rejects.toMatchObject({ message: expect.stringMatching(message) });
  });
});
