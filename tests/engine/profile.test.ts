/** engine.profile(): every verb of every step is in it, with its bytes and FLOPs; it changes no token. Never how long it took. */
import { rmSync } from "node:fs";
import { Engine, type Profile } from "lockstep";
import { afterAll, expect, it } from "vitest";
import { writeTinyModel } from "../reliability/support.js";

const model = writeTinyModel(); // 2 layers, D 32, Hq 4, Hkv 2, d 8, F 48, V 64
afterAll(() => rmSync(model, { recursive: true }));

const load = { device: "cpu", threads: 1, kvCacheTokens: 128 } as const;
const sampling = { temperature: 0, ignoreEos: true, maxTokens: 3 };
const prompt = { tokens: [1, 2, 3, 4, 5] };
const steps = [5, 1, 1]; // tokens of each
const rows = 7;
const perLayer = 2 * steps.length;

it("counts the calls, bytes and FLOPs of every verb", async () => {
  const engine = await Engine.load(model, { ...load, profile: true });
  expect(engine.profile()).toMatchObject({ steps: 0, kernels: [] });
  const start = performance.now();
  const { tokens } = await engine.generate(prompt, sampling);
  const wall = (performance.now() - start) / 1000;
  const { kernels, ...profile } = engine.profile();
  await engine.close();

  const counts = Object.fromEntries(kernels.map(({ name, seconds: _, ...counts }) => [name, counts]));
  const linear = (n: number, k: number, calls: number, rowsOfAll: number, outBytes: number) => ({
    calls,
    bytes: calls * 2 * n * k + rowsOfAll * (2 * k + outBytes),
    flops: 2 * rowsOfAll * n * k,
  });
  const [keys, pairs] = [5 + 6 + 7, 15 + 6 + 7]; // read in a layer; queries times keys
  expect(counts).toEqual({
    embed: { calls: 3, bytes: rows * 4 * 32, flops: 0 },
    rope_table: { calls: 3, bytes: rows * 4 * 8, flops: 60 * rows * 8 },
    rms_norm: { calls: 3, bytes: rows * 4 * 32, flops: 4 * rows * 32 },
    "project_qkv 64x32": linear(64, 32, perLayer, 2 * rows, 2 * 64),
    attention: {
      calls: perLayer,
      bytes: 2 * (keys * 2 * 2 * 2 * 8 + rows * 2 * 2 * 32),
      flops: 2 * 4 * pairs * 32,
    },
    "linear 32x32": linear(32, 32, perLayer, 2 * rows, 4 * 32),
    add_norm: { calls: 2 * perLayer, bytes: 4 * rows * 10 * 32, flops: 4 * rows * 5 * 32 },
    "gate_up 96x32": linear(96, 32, perLayer, 2 * rows, 2 * 48),
    "linear 32x48": linear(32, 48, perLayer, 2 * rows, 4 * 32),
    gather_rows: { calls: 3, bytes: 3 * 4 * 32, flops: 0 },
    "linear 64x32": linear(64, 32, 3, 3, 4 * 64),
    sample: { calls: 3, bytes: 3 * 4 * 64, flops: 0 },
  });

  expect(profile.steps).toBe(3);
  const ofKernels = kernels.reduce((sum, { seconds }) => sum + seconds, 0);
  expect(ofKernels).toBeGreaterThan(0);
  expect(profile.seconds).toBeGreaterThan(ofKernels);
  expect(wall).toBeGreaterThan(ofKernels);
  expect(tokens).toHaveLength(3);
});

it("is asked for at load, and changes no bit; waiting is not in it", async () => {
  const run = async (profile: boolean) => {
    const engine = await Engine.load(model, { ...load, profile });
    const first = await engine.generate(prompt, { ...sampling, logprobs: true });
    let told: Profile | unknown;
    try {
      told = engine.profile();
    } catch (error) {
      told = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100)); // no work, so no part of it
    const start = performance.now();
    const second = await engine.generate(prompt, { ...sampling, logprobs: true });
    const seconds = (performance.now() - start) / 1000;
    const later = profile ? engine.profile() : undefined;
    await engine.close();
    if (profile) expect(engine.profile()).toEqual(later); // of a closed engine, too
    return { told, later, seconds, results: [first, second].map(({ seed: _, ...rest }) => rest) };
  };
  const [on, off] = [await run(true), await run(false)];
  expect(on.results).toEqual(off.results);
  expect(on.later!.seconds - (on.told as Profile).seconds).toBeLessThanOrEqual(on.seconds);
  expect(off.told).toMatchObject({
    code: "INVALID_ARGUMENT",
    message: "Expected an engine that was loaded with profile: true for profile()",
  });
});
