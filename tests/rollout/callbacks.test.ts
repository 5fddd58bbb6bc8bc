/** What callbacks may do: be slow, throw, never settle, return nonsense; and what cancelGroup stops. */
import { type CancelContext, Engine, type RolloutSample } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { collect, faults, inOrder, kChat, kDemoModel } from "./support.js";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(kDemoModel, { threads: 1 });
});
afterAll(() => engine.close());

/** A turn of some words, then whatever `turn` and `reward` say. */
const kTurn = { seed: 1, sampling: { temperature: 1, stop: " ", maxTokens: 200 } };
const kPrompt = "Done: the";

const never = () => new Promise<never>(() => {});
const throws = () => {
  throw new Error("the judge is out");
};
const rejects = () => Promise.reject(new Error("the judge is out"));

describe("a callback that", () => {
  const kFailures: [string, () => unknown, object][] = [
    ["throws", throws, { code: "CALLBACK_FAILED", message: /to return but it threw: the judge is out/ }],
    ["rejects", rejects, { code: "CALLBACK_FAILED", message: /to return but it threw: the judge is out/ }],
    ["never settles", never, { code: "CALLBACK_FAILED", message: /within 30 ms \(callbackTimeoutMs\)/ }],
    ["returns nonsense", () => "yes", { code: "INVALID_ARGUMENT", message: /(turn|reward) returned.*'yes'/ }],
  ];
  it.each(kFailures)("%s is an error of its sample, and of no other", async (_, fails, error) => {
    const requests = [
      { prompt: kPrompt, turn: fails as () => null },
      { prompt: kPrompt, reward: fails as () => number },
      { prompt: kPrompt, reward: () => 0.5 },
    ];
    const run = engine.rollouts(requests, { ...kTurn, callbackTimeoutMs: 30 });
    const samples = await collect(run);
    for (const sample of samples.slice(0, 2)) {
      const { code, message } = error as { code: string; message: RegExp };
      expect(sample.error).toEqual({ code, message: expect.stringMatching(message) });
      expect(faults(sample)).toEqual([]);
      expect([sample.turns, sample.reward]).toEqual([1, undefined]);
    }
    expect(samples.map(({ finishReason }) => finishReason)).toEqual(["abort", "stop", "stop"]);
    expect(samples[2]).toMatchObject({ reward: 0.5 });
    expect(samples[2]!.error).toBeUndefined();
    expect(run.stats()).toMatchObject({ failed: 2, finished: 1, aborted: 0, started: 3 });
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, "1", undefined, null])(
    "gives the reward %s is refused",
    async (value) => {
      const [sample] = await collect(
        engine.rollouts([{ prompt: kPrompt, reward: () => value as number }], kTurn),
      );
      expect(sample!.error).toEqual({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/^Expected a finite number for what reward returned/),
      });
      expect(sample).not.toHaveProperty("reward");
    },
  );

  it("is late changes nothing any more, and its signal says so", async () => {
    let late: ((reward: number) => void) | undefined;
    let signal: AbortSignal | undefined;
    const reward = (_: RolloutSample, context: { signal: AbortSignal }) => {
      signal = context.signal;
      return new Promise<number>((resolve) => {
        late = resolve;
      });
    };
    const [sample] = await collect(
      engine.rollouts([{ prompt: kPrompt, reward }], { ...kTurn, callbackTimeoutMs: 10 }),
    );
    expect(signal?.aborted).toBe(true);
    late!(1);
    await Promise.resolve();
    expect(sample).not.toHaveProperty("reward");
  });

  it("is slow holds no other up: rewards run beside generation", async () => {
    const waiting: (() => void)[] = [];
    const reward = () =>
      new Promise<number>((resolve) => {
        waiting.push(() => resolve(waiting.length));
        if (waiting.length === 2) for (const go of waiting) go(); // the first waits for the second
      });
    const requests = [{ prompt: kPrompt }, { prompt: kPrompt }];
    const samples = await collect(engine.rollouts(requests, { ...kTurn, concurrency: 1, reward }));
    expect(samples.map((sample) => sample.reward)).toEqual([2, 2]);
  });
});

describe("rewards", () => {
  it("come with the sample, truncated ones too, and not for what was aborted or failed", async () => {
    const seen: string[] = [];
    const reward = ({ finishReason, text }: RolloutSample) => {
      seen.push(finishReason);
      return text.length;
    };
    const requests = [
      { prompt: kPrompt },
      { prompt: kPrompt, sampling: { maxTokens: 2, stop: [] } },
      { prompt: kPrompt, turn: throws },
    ];
    const samples = await collect(engine.rollouts(requests, { ...kTurn, reward }));
    expect(seen.sort()).toEqual(["length", "stop"]);
    expect(samples.map(({ reward, text }) => reward === text.length)).toEqual([true, true, false]);
  });

  it("see the text that a stop string ended, and the response as it was sampled", async () => {
    let text: string | undefined;
    const reward = (_: RolloutSample, context: { text: string }) => {
      text = context.text;
      return 1;
    };
    const [sample] = await collect(engine.rollouts([{ prompt: kPrompt, reward }], kTurn));
    const { seed } = sample!;
    expect(text).toBe((await engine.generate(kPrompt, { ...kTurn.sampling, seed })).text);
    expect(sample!.text.startsWith(`${text} `)).toBe(true);
    expect(sample!.stop).toBe(" ");
  });
});

describe("cancelGroup", () => {
  it("stops the rest of a group once it has what is wanted; what ran comes out as it is", async () => {
    const seen: CancelContext[] = [];
    const requests = [0, 1].map(() => ({ prompt: kPrompt, n: 8 }));
    const run = engine.rollouts(requests, {
      ...kTurn,
      concurrency: 2,
      turn: ({ groupIndex, sampleIndex }: RolloutSample) =>
        groupIndex === 0 && sampleIndex > 0 ? never() : null,
      cancelGroup: ({ groupIndex }, context) => {
        seen.push(context);
        return groupIndex === 0 && "group";
      },
    });
    const samples = await collect(run);
    const [cancelled, other] = [0, 1].map((index) => samples.filter((one) => one.groupIndex === index));
    expect(cancelled![0]).toMatchObject({ sampleIndex: 0, finishReason: "stop" });
    expect(cancelled!.slice(1).every(({ finishReason }) => finishReason === "abort")).toBe(true);
    expect(cancelled!.length).toBeLessThanOrEqual(3); // no more than two run at once
    expect(other!.map(({ finishReason }) => finishReason)).toEqual(Array(8).fill("stop"));
    expect(seen[0]).toEqual({ finished: 1, group: [cancelled![0]] });
    expect(seen.at(-1)!.finished).toBe(9);
    expect(inOrder(seen.at(-1)!.group)).toEqual(other);
    for (const sample of samples) expect(faults(sample)).toEqual([]);
  });

  it("of the run ends it", async () => {
    let finished = 0;
    const endless = { prompt: kChat, n: 6, sampling: { temperature: 1, ignoreEos: true, stop: [] } };
    const run = engine.rollouts([{ prompt: kPrompt }, endless], {
      sampling: { stop: " " },
      cancelGroup: (_, context) => {
        finished = context.finished;
        return "run";
      },
    });
    const samples = await collect(run);
    expect(finished).toBe(1);
    expect(samples.filter(({ finishReason }) => finishReason !== "abort")).toHaveLength(1);
    expect(run.stats()).toMatchObject({ finished: 1, failed: 0, inFlight: 0 });
    expect(engine.stats().running).toBe(0);
  });

  it.each([
    ["throws", throws, "CALLBACK_FAILED"],
    ["returns a promise", () => Promise.reject(new Error("no")) as never, "INVALID_ARGUMENT"],
    ["returns true", () => true as never, "INVALID_ARGUMENT"],
  ])("that %s is an error of the sample, which keeps its reward", async (_, cancelGroup, code) => {
    const options = { ...kTurn, cancelGroup, reward: () => 1 };
    const samples = await collect(engine.rollouts([{ prompt: kPrompt, n: 2 }], options));
    for (const sample of samples)
      expect(sample).toMatchObject({ error: { code }, reward: 1, finishReason: "stop" });
  });
});
