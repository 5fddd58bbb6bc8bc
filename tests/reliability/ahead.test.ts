/**
 * Steps ahead (docs/decisions/0012-steps-ahead.md) without a GPU: the testing addon's backend "late" answers as a GPU does,
 * so the engine launches steps before it knows the tokens of the step before. Same bits as with a backend that answers at
 * once, under everything at once; and a backend that mixes rows up is noticed.
 */
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Engine as EngineType, LoadOptions } from "lockstep";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Mixture, MixtureReport } from "./pressure-suite.js";

process.env.LOCKSTEP_ADDON = fileURLToPath(
  new URL("../../build/Release/lockstep-testing.node", import.meta.url),
);
const load: LoadOptions = { threads: 1 };

let run: (backend: string, mixture: Mixture) => Promise<MixtureReport>;
let withLate: <T>(options: LoadOptions, body: (engine: EngineType) => Promise<T>) => Promise<T>;
let poisonTiny: (token: number) => void;
let mixtures: Mixture[];
let tiny: string;
afterAll(() => rmSync(tiny, { recursive: true }));

beforeAll(async () => {
  // Only now: the addon is chosen when the package is first imported.
  const { Engine } = await import("lockstep");
  const suite = await import("./pressure-suite.js");
  const { kDemoModel, kDemoVocab, poison, withEngine, writeTinyModel } = await import("./support.js");
  tiny = writeTinyModel(4096);
  poisonTiny = (token) => poison(tiny, token);
  const cases = suite.pressureCases(36, kDemoVocab, 21, { longestPrompt: 100 });
  mixtures = suite.randomMixtures(5, cases, 2, 3);
  const expected = await suite.runAlone(Engine, kDemoModel, cases);
  run = (backend, mixture) => {
    process.env.LOCKSTEP_COMPUTE_PATH = `canary:${backend}`;
    return suite.runMixture(Engine, kDemoModel, cases, expected, mixture);
  };
  withLate = (options, body) => {
    process.env.LOCKSTEP_COMPUTE_PATH = "canary:late";
    return withEngine(tiny, { ...load, ...options }, body);
  };
}, 60_000);
afterEach(() => {
  delete process.env.LOCKSTEP_COMPUTE_PATH;
});

describe("steps ahead", { timeout: 120_000 }, () => {
  it("change no bit, under everything at once", async () => {
    const sum = { stepsAhead: 0, preemptions: 0, evictions: 0, partialHits: 0, aborts: 0 };
    for (const mixture of mixtures) {
      const report = await run("late", mixture);
      expect(report.mismatches, mixture.name).toEqual([]);
      // With two workers no step is ahead: the second one does not know the tokens.
      if (mixture.load.tensorParallel === 2) expect(report.stepsAhead).toBe(0);
      for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += report[key];
    }
    console.log(`late: ${JSON.stringify(sum)}`);
    for (const [what, count] of Object.entries(sum)) expect(count, what).toBeGreaterThan(0);
    expect(sum.stepsAhead).toBeGreaterThan(100);
  });

  it("are noticed where they take another row's token", async () => {
    const { mismatches, stepsAhead } = await run("late-row", mixtures[0]!);
    expect(stepsAhead).toBeGreaterThan(0);
    expect(mismatches.length).toBeGreaterThan(0);
  });

  it("are all steps of a decode but the first, and leave the counts as they are", () =>
    withLate({}, async (engine) => {
      const { tokens } = await engine.generate({ tokens: [1, 2, 3] }, { maxTokens: 40, ignoreEos: true });
      expect(tokens).toHaveLength(40);
      expect(engine.stats()).toMatchObject({
        steps: 40,
        stepsAhead: 39,
        generatedTokens: 40,
        computedTokens: 42,
        running: 0,
      });
    }));

  it("wait for the tokens that penalties count", () =>
    withLate({}, async (engine) => {
      const penalized = { maxTokens: 20, ignoreEos: true, presencePenalty: 1 };
      await engine.generate({ tokens: [1, 2, 3] }, penalized);
      expect(engine.stats()).toMatchObject({ steps: 20, stepsAhead: 0 });
    }));

  it("compute a row for nobody behind an end, and the next request is as if it were not", () =>
    withLate({ kvCacheTokens: 64, maxContext: 64 }, async (engine) => {
      const sampling = { temperature: 1, seed: 5, maxTokens: 30, ignoreEos: true, logprobs: true };
      const whole = await engine.generate({ tokens: [9] }, sampling);
      for (const end of [3, 15, 16, 17]) {
        const stop = { ...sampling, stopTokenIds: [whole.tokens[end]!] };
        const length = whole.tokens.indexOf(whole.tokens[end]!) + 1;
        for (let round = 0; round < 2; ++round) {
          const { steps, computedTokens } = engine.stats();
          const generation = await engine.generate({ tokens: [9] }, stop);
          expect(generation).toMatchObject({ finishReason: "stop", tokens: whole.tokens.slice(0, length) });
          expect(generation.logprobs).toEqual(whole.logprobs!.slice(0, length));
          const after = engine.stats();
          expect(after.steps - steps).toBe(length + 1); // the last one for nobody
          expect(after.computedTokens - computedTokens).toBe(length + 1);
          expect(after.blocks.owned).toBe(0);
        }
      }
    }));

  it("end with close() and with an abort, wherever the devices are", () =>
    withLate({ kvCacheTokens: 16_384 }, async (engine) => {
      const endless = { temperature: 0, ignoreEos: true };
      for (let round = 0; round < 20; ++round) {
        const controller = new AbortController();
        const open = [1, 2, 3].map((token) =>
          engine.generate({ tokens: [token] }, { ...endless, signal: controller.signal }),
        );
        const { stepsAhead } = engine.stats();
        while (engine.stats().stepsAhead < stepsAhead + round) await new Promise(setImmediate);
        controller.abort();
        for (const { finishReason } of await Promise.all(open)) expect(finishReason).toBe("abort");
        expect(engine.stats()).toMatchObject({ running: 0, blocks: { owned: 0 } });
      }
      const open = engine.generate({ tokens: [1] }, endless).catch(({ code }) => code);
      const { stepsAhead } = engine.stats();
      while (engine.stats().stepsAhead === stepsAhead) await new Promise(setImmediate);
      await engine.close();
      expect(await open).toBe("ENGINE_CLOSED");
    }));

  // The last one: it spoils the model.
  it("lose nobody but the request whose logits are not finite", () => {
    poisonTiny(7);
    return withLate({ kvCacheTokens: 256 }, async (engine) => {
      const options = { temperature: 1, seed: 1, ignoreEos: true, maxTokens: 24, logprobs: true };
      const forced = { ...options, forcedTokens: [1, 2, 3, 7, 4, 5] };
      const [expected] = await engine.generate([{ tokens: [3] }], options);
      const [good, bad] = await Promise.all([
        engine.generate({ tokens: [3] }, options),
        engine.generate({ tokens: [3] }, forced).catch((error) => error),
      ]);
      expect(bad).toMatchObject({ code: "NON_FINITE_LOGITS" });
      expect(good).toMatchObject({ tokens: expected!.tokens, logprobs: expected!.logprobs });
      expect(engine.stats()).toMatchObject({ running: 0, blocks: { owned: 0 } });
      expect(engine.stats().stepsAhead).toBeGreaterThan(0);
    });
  });
});
