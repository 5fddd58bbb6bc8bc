/** sleep() and wake(): memory goes and comes back, with the same bits; what happens to requests, and to files, meanwhile. */
import { cpSync, rmSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Engine, type LoadOptions, type RunningMode } from "lockstep";
import { afterAll, describe, expect, it } from "vitest";
import { resources, until, whatCounts, withEngine } from "../reliability/support.js";
import { asBF16, kLoad, readTensors, voice, voiceOf, writeLargeModel, writeModel } from "./support.js";

const [first, second] = [writeModel(1), writeModel(2)];
const made = [first, second];
const copyOf = (directory: string): string => {
  const copy = writeModel(3);
  cpSync(directory, copy, { recursive: true });
  made.push(copy);
  return copy;
};
afterAll(() => {
  for (const directory of made) rmSync(directory, { recursive: true });
});
const tensorsOf = (directory: string) =>
  new Map([...readTensors(directory)].map(([name, tensor]) => [name, asBF16(tensor)] as const));
/** Of the weights, as BF16. */
const weightBytes = [...readTensors(first).values()].reduce((sum, { values }) => sum + 2 * values.length, 0);

describe("sleep", () => {
  const old = voiceOf(first);
  const fresh = voiceOf(second);

  it.each<[string, LoadOptions, number]>([
    ["mapped weights", {}, 0],
    ["copied weights", { weights: "copy" }, weightBytes],
    ["two ranks", { tensorParallel: 2, weights: "copy" }, weightBytes],
  ])(
    "gives everything back, or all but the weights, and wakes with the same bits: %s",
    async (_, options, kept) => {
      await withEngine(first, { ...kLoad, ...options }, async (engine) => {
        expect(await voice(engine)).toEqual(await old);
        const { deviceBytes, blocks } = engine.stats();
        expect(blocks.cached).toBeGreaterThan(0);
        const free = blocks.free + blocks.cached;
        for (const [keep, left] of [
          [[], 0],
          [["weights"], kept],
          [undefined, 0],
        ] as const) {
          await engine.sleep({ keep });
          expect(engine.stats()).toMatchObject({
            asleep: true,
            deviceBytes: left,
            blocks: { free, cached: 0 },
          });
          await engine.wake();
          expect(engine.stats()).toMatchObject({ asleep: false, deviceBytes });
          expect(await voice(engine)).toEqual(await old);
        }
      });
    },
  );

  it("gives the memory of a KV cache back to the system", async () => {
    // 128 KB of K and V a token.
    const shape = { layers: 16, hidden: 32, heads: 8, kvHeads: 8, headDim: 256, mlp: 32, vocab: 64 };
    const model = writeLargeModel(1, shape);
    made.push(model);
    const tokens = 32 * 64;
    const before = resources();
    const engine = await Engine.load(model, { ...kLoad, kvCacheTokens: tokens });
    const fill = async () => {
      const prompts = Array.from({ length: 32 }, (_, i) => ({ tokens: Array(60).fill(i + 1) }));
      await engine.generate(prompts, { maxTokens: 2, ignoreEos: true, seed: 1 });
      return resources();
    };
    const kvBytes = tokens * 2 ** 17;
    const awake = await fill();
    await engine.sleep();
    const asleep = resources();
    expect(awake.rssBytes - asleep.rssBytes).toBeGreaterThan(0.75 * kvBytes);
    expect(asleep.rssBytes - before.rssBytes).toBeLessThan(0.25 * kvBytes); // JavaScript's own, mostly
    expect(asleep.threads).toBeLessThan(awake.threads); // one computes besides the engine's own
    await engine.wake();
    expect((await fill()).rssBytes - asleep.rssBytes).toBeGreaterThan(0.75 * kvBytes);
    await engine.close();
  });

  it("20 times over, without growing", async () => {
    await withEngine(first, kLoad, async (engine) => {
      const cycle = async (i: number) => {
        await engine.sleep({ keep: i % 2 === 0 ? [] : ["weights"] });
        await engine.wake();
        await engine.generate({ tokens: [i] }, { maxTokens: 3, seed: 1 });
      };
      for (let i = 0; i < 4; ++i) await cycle(i);
      await engine.flushCache();
      const before = { ...resources(), stats: engine.stats() };
      for (let i = 0; i < 20; ++i) await cycle(i);
      await engine.flushCache();
      const after = { ...resources(), stats: engine.stats() };
      expect(after).toMatchObject({ threads: before.threads, fds: before.fds });
      expect(after.stats).toMatchObject({
        deviceBytes: before.stats.deviceBytes,
        blocks: before.stats.blocks,
      });
    });
  });

  it("keeps weights that came as tensors in memory, and wakes with them", async () => {
    await withEngine(first, kLoad, async (engine) => {
      await engine.updateWeights(tensorsOf(second));
      await engine.sleep();
      expect(engine.stats().deviceBytes).toBe(weightBytes);
      expect(await engine.weights()).toHaveLength(readTensors(second).size); // they are here
      await engine.wake();
      expect(engine.weightVersion).toBe(1);
      expect(await voice(engine)).toEqual(await fresh);
    });
  });

  it("takes other weights while it sleeps, and wakes with them", async () => {
    await withEngine(first, kLoad, async (engine) => {
      for (const [keep, source] of [
        [[], second],
        [["weights"], first],
        [[], tensorsOf(second)],
      ] as const) {
        await engine.sleep({ keep });
        await engine.updateWeights(source);
        await expect(engine.updateWeights(new Map())).rejects.toMatchObject({ code: "INVALID_CHECKPOINT" });
        await engine.wake();
        expect(await voice(engine)).toEqual(await (source === first ? old : fresh));
      }
      expect(engine.weightVersion).toBe(3);
    });
  });

  it("may come twice, deeper or not, and wake() where nobody sleeps", async () => {
    await withEngine(first, { ...kLoad, weights: "copy" }, async (engine) => {
      await engine.wake();
      await engine.sleep({ keep: ["weights"] });
      await engine.sleep({ keep: ["weights"] });
      expect(engine.stats().deviceBytes).toBe(weightBytes);
      await engine.sleep();
      await engine.sleep({ keep: ["weights"] }); // there are none to keep
      expect(engine.stats().deviceBytes).toBe(0);
      await expect(engine.weights()).rejects.toMatchObject({
        code: "ENGINE_ASLEEP",
        message: expect.stringMatching(/sleeps without its weights: call wake\(\) first/),
      });
      await engine.flushCache();
      await engine.wake();
      await engine.wake();
      expect(await voice(engine)).toEqual(await old);
    });
  });

  it("does not wake with files that have changed, and does with other weights", async () => {
    const directory = copyOf(first);
    await withEngine(directory, kLoad, async (engine) => {
      await engine.sleep();
      const path = join(directory, "model.safetensors");
      utimesSync(path, 1, 1);
      for (const reason of [/written to since it was loaded/, /cannot be opened/]) {
        await expect(engine.wake()).rejects.toMatchObject({
          code: "INVALID_CHECKPOINT",
          message: expect.stringMatching(reason),
        });
        expect(engine.stats()).toMatchObject({ asleep: true, deviceBytes: 0 });
        rmSync(path, { force: true });
      }
      await engine.updateWeights(second);
      await engine.wake();
      expect(await voice(engine)).toEqual(await fresh);
    });
  });
});

describe("requests", () => {
  const sampling = { maxTokens: 2000, ignoreEos: true, seed: 3, logprobs: true };
  const prompts = Array.from({ length: 8 }, (_, i) => ({ tokens: [i, 1, 2] }));
  const options = { ...kLoad, maxSequences: 4 };
  const undisturbed = withEngine(first, options, (engine) => engine.generate(prompts, sampling));

  it.each<RunningMode>(["wait", "abort", "continue"])("%s: they go on after wake()", async (mode) => {
    const expected = await undisturbed;
    await withEngine(first, options, async (engine) => {
      const requests = prompts.map((prompt) => engine.generate(prompt, sampling));
      await until(() => engine.stats().running === 4, "four run");
      await engine.sleep({ mode });
      const { steps, queue, running } = engine.stats();
      expect({ queue, running }).toEqual({ queue: mode === "continue" ? 8 : 4, running: 0 });
      const late = engine.generate(prompts[0]!, sampling);
      const abort = new AbortController();
      const aborted = engine.generate(prompts[0]!, { ...sampling, signal: abort.signal });
      await wait(20);
      abort.abort();
      expect(await aborted).toMatchObject({ finishReason: "abort", tokens: [] });
      expect(engine.stats().steps).toBe(steps);
      await engine.wake();
      const generations = await Promise.all(requests);
      const finished = generations.filter(({ finishReason }) => finishReason === "length");
      expect(finished).toHaveLength(mode === "abort" ? 4 : 8);
      for (const [i, generation] of generations.entries())
        if (generation.finishReason === "length")
          expect(whatCounts(generation)).toEqual(whatCounts(expected[i]));
      expect(whatCounts(await late)).toEqual(whatCounts(expected[0]));
    });
  });

  it("are refused by option, until wake()", async () => {
    await withEngine(first, options, async (engine) => {
      await engine.sleep({ requests: "fail" });
      const asleep = expect.objectContaining({ code: "ENGINE_ASLEEP" });
      await expect(engine.generate(prompts, sampling)).rejects.toEqual(asleep);
      expect(() => engine.stream(prompts[0]!)).toThrow(asleep);
      await expect(engine.score(prompts[0]!)).rejects.toEqual(asleep);
      await expect(engine.embed(prompts[0]!)).rejects.toEqual(asleep);
      expect(engine.stats().rejected).toEqual({ ENGINE_ASLEEP: 4 });
      await engine.wake();
      expect((await engine.generate(prompts[0]!, { maxTokens: 1 })).tokens).toHaveLength(1);
      await engine.sleep();
      const waits = engine.generate(prompts[0]!, { maxTokens: 1 });
      await engine.wake();
      expect((await waits).tokens).toHaveLength(1);
    });
  });

  it("that it holds cannot be waited for", async () => {
    await withEngine(first, options, async (engine) => {
      const request = engine.generate(prompts[0]!, sampling);
      await until(() => engine.stats().generatedTokens > 2, "tokens are generated");
      await engine.sleep({ mode: "continue" });
      for (const call of [engine.pause(), engine.sleep(), engine.updateWeights(second)])
        await expect(call).rejects.toMatchObject({
          code: "INVALID_ARGUMENT",
          message: expect.stringMatching(/paused or asleep: the requests it holds cannot finish/),
        });
      await engine.pause({ mode: "continue" });
      await engine.wake();
      await wait(20);
      expect(engine.stats()).toMatchObject({ running: 0, queue: 1 }); // paused
      engine.continue();
      expect(whatCounts(await request)).toEqual(whatCounts((await undisturbed)[0]));
    });
  });

  it("are ended by close(), asleep as awake", async () => {
    const engine = await Engine.load(first, options);
    const begun = engine.generate(prompts[0]!, { ignoreEos: true }).catch(({ code }) => code);
    await until(() => engine.stats().running === 1, "it runs");
    await engine.sleep({ mode: "continue" });
    const waiting = engine.generate(prompts[1]!).catch(({ code }) => code);
    await Promise.all([engine.wake().catch(() => {}), engine.close()]);
    expect(await Promise.all([begun, waiting])).toEqual(["ENGINE_CLOSED", "ENGINE_CLOSED"]);
    await expect(engine.sleep()).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
    await expect(engine.wake()).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  });
});

it.each([
  [{ keep: ["kv"] }, /'weights' for keep\[0\] but received 'kv'/],
  [{ keep: "weights" }, /\[\] or \['weights'\] for keep/],
  [{ requests: "drop" }, /'wait' or 'fail' for requests/],
  [{ mode: 1 }, /for mode/],
  [{ level: 1 }, /a known option in sleep options/],
])("refuses %o", async (options, message) => {
  await withEngine(first, kLoad, async (engine) => {
    const error = await engine.sleep(options as object).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
    expect(engine.stats().asleep).toBe(false);
  });
});
