/** The parts of `lockstep bench` that can be checked without a clock: the floors' formulas and what a timing counts. */
import { LockstepError, measureFloors } from "lockstep";
import { expect, it } from "vitest";
import { combine, NO_STEPS, profileDecode } from "../../src/cli/bench/profile.js";
import { decodeStepCost, floorOf, prefillCost, type Shape } from "../../src/cli/bench/roofline.js";
import { randomPrompts, timeDecode } from "../../src/cli/bench/work.js";
import type { Engine, Floors } from "../../src/index.js";

/** Qwen3-0.6B. */
const SHAPE: Shape = {
  layers: 28,
  hidden: 1024,
  heads: 16,
  kvHeads: 8,
  headDim: 128,
  mlp: 3072,
  vocab: 151_936,
};
const EMBEDDING = 151_936 * 1024;
const PER_LAYER = 1024 * (2048 + 1024 + 1024) + 2048 * 1024 + 3 * 1024 * 3072;
const WEIGHTS = 28 * PER_LAYER;

it("counts the bytes and FLOPs of a decode step", () => {
  expect(decodeStepCost(SHAPE, 1, 0)).toEqual({
    bytes: 2 * (WEIGHTS + EMBEDDING), // 1.192 GB
    flops: 2 * (WEIGHTS + EMBEDDING),
  });
  const cached = 2 * 2 * 28 * 8 * 128; // K and V of a token
  const attended = 2 * 2 * 28 * 16 * 128; // q·k and p·v with a token
  expect(decodeStepCost(SHAPE, 4, 100)).toEqual({
    bytes: 2 * (WEIGHTS + EMBEDDING) + 400 * cached,
    flops: 4 * 2 * (WEIGHTS + EMBEDDING) + 400 * attended,
  });
});

it("counts the bytes and FLOPs of a prompt, token by token", () => {
  const tokens = 1100;
  const stepTokens = 512;
  let flops = 2 * EMBEDDING; // one row of the head
  let bytes = 2 * EMBEDDING;
  for (let t = 0; t < tokens; ++t) {
    flops += 2 * WEIGHTS + (t + 1) * 2 * 2 * 28 * 16 * 128;
    if (t % stepTokens === 0) bytes += 2 * WEIGHTS + t * 2 * 2 * 28 * 8 * 128; // a step begins
  }
  expect(prefillCost(SHAPE, tokens, stepTokens)).toEqual({ bytes, flops });
});

it("takes the slower of reading and computing", () => {
  const floors = { readBytesPerSecond: 10, flopsPerSecond: 100 } as Floors;
  expect(floorOf({ bytes: 20, flops: 100 }, floors)).toEqual({
    bytes: 20,
    flops: 100,
    limit: "bandwidth",
    seconds: 2,
  });
  expect(floorOf({ bytes: 20, flops: 300 }, floors)).toMatchObject({ limit: "compute", seconds: 3 });
});

it("draws the same ids each time, all of the vocabulary's", () => {
  const [first, second] = randomPrompts(2, 1000, 10);
  expect(randomPrompts(2, 1000, 10)).toEqual([first, second]);
  expect(first).not.toEqual(second);
  expect(new Set(first)).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
});

const turn = () => new Promise<void>((resolve) => setTimeout(resolve, 2));

/** Streams a token per step for each sequence; sequence i begins at step i. Ends when it is aborted. */
function staggeredEngine(endAfter = Number.POSITIVE_INFINITY, onToken = () => {}) {
  let started = 0;
  const engine = {
    maxContext: 99,
    async *stream(_prompt: unknown, { signal }: { signal: AbortSignal }) {
      const late = started++;
      for (let i = 0; i < late; ++i) await turn();
      for (let i = 0; i < endAfter && !signal.aborted; ++i) {
        await turn();
        onToken();
        yield { tokens: [i], text: "" };
      }
    },
  };
  return engine as unknown as Engine;
}

it("counts decoded tokens only while every sequence decodes", async () => {
  const prompts = [[1], [1], [1], [1]];
  const start = performance.now();
  const { tokens, seconds, output } = await timeDecode(
    staggeredEngine(),
    prompts,
    6,
    new AbortController().signal,
  );
  expect(output).toEqual(prompts.map(() => [0, 1, 2, 3, 4, 5, 6])); // the same of each, whatever it did beyond
  expect(tokens).toBe(4 * 6);
  expect(seconds).toBeGreaterThanOrEqual(6 * 0.001); // six turns, not the nine since the first one began
  expect(seconds * 1000).toBeLessThan(performance.now() - start);
});

it("profiles the steps in which all decode, however late it hears of them", async () => {
  let steps = 0;
  const engine = Object.assign(
    staggeredEngine(Number.POSITIVE_INFINITY, () => ++steps),
    {
      profile: () => ({ steps, seconds: 2 * steps, kernels: [] }),
    },
  ) as Engine;
  const profile = await profileDecode(engine, [[1], [1], [1], [1]], 6, new AbortController().signal);
  expect(profile.steps).toBeGreaterThanOrEqual(6);
  expect(steps - profile.steps).toBeGreaterThanOrEqual(4); // those before the last one had begun
  const over = Object.assign(staggeredEngine(2), { profile: () => NO_STEPS }) as Engine;
  const failure = profileDecode(over, [[1], [1]], 6, new AbortController().signal);
  await expect(failure).rejects.toThrow("over before this thread heard of them");
});

it("adds and subtracts profiles kernel by kernel", () => {
  const kernel = (name: string, n: number) => ({ name, calls: n, seconds: n, bytes: n, flops: n });
  const before = { steps: 2, seconds: 5, kernels: [kernel("a", 2), kernel("b", 3)] };
  const after = { steps: 6, seconds: 9, kernels: [kernel("a", 5), kernel("b", 3), kernel("c", 1)] };
  const between = { steps: 4, seconds: 4, kernels: [kernel("a", 3), kernel("c", 1)] };
  expect(combine(after, before, -1)).toEqual(between);
  expect(combine(NO_STEPS, between, 1)).toEqual(between);
  expect(after.kernels[0]).toEqual(kernel("a", 5)); // what went in is as it was
});

it("refuses to time sequences that end too early", async () => {
  const timing = timeDecode(staggeredEngine(3), [[1]], 6, new AbortController().signal);
  await expect(timing).rejects.toThrow("too short to decode 6 tokens after 1");
});

it("measures the machine's floors without holding up the event loop", async () => {
  let turns = 0;
  const timer = setInterval(() => ++turns, 5);
  const floors = await measureFloors({ threads: 2, bufferBytes: 16 * 2 ** 20 });
  clearInterval(timer);
  expect(floors).toMatchObject({ threads: 2, bufferBytes: 16 * 2 ** 20, computePath: expect.any(String) });
  expect(floors.readBytesPerSecond).toBeGreaterThan(1e8); // of any machine that this could run on
  expect(floors.flopsPerSecond).toBeGreaterThan(1e8);
  expect(turns).toBeGreaterThan(1);
});

it.each([
  [{ threads: 0 }, /an integer in \[1, 1024\] for threads/],
  [{ bufferBytes: 5 }, /for bufferBytes/],
  [{ bufferBytes: 2 ** 52 }, /an integer in \[1048576, \d+\] for bufferBytes/], // more than is available
  [{ device: "cuda" }, /'cpu', 'cuda:0', 'cuda:1', \.\.\. for device but received 'cuda'/],
  [{ device: ["cuda:0"] }, /'cuda:0'.* for device but received an array/],
  [{ device: "cuda:99" }, /for device but received .*cuda:99/],
  [{ thread: 1 }, /'thread'.*threads/],
])("refuses %j", async (options, expected) => {
  const failure = measureFloors(options as object);
  await expect(failure).rejects.toThrow(expected);
  await expect(failure).rejects.toBeInstanceOf(LockstepError);
});
