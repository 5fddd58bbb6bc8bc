/** updateWeights(): the bits of a fresh load afterwards, and the old ones where the new weights are not good. */
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Engine, type LoadOptions, type NamedTensor, type WeightsSource } from "lockstep";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { Shape } from "../model/random-checkpoint.js";
import { type Tensor, writeSafetensors } from "../model/safetensors.js";
import { resources, until, whatCounts, withEngine } from "../reliability/support.js";
import { asBF16, bitsOf, kLoad, kShape, readTensors, voice, voiceOf, writeModel } from "./support.js";

const [first, second] = [writeModel(1), writeModel(2)];
const made = [first, second];
const model = (...args: Parameters<typeof writeModel>): string => {
  made.push(writeModel(...args));
  return made.at(-1)!;
};
afterAll(() => {
  for (const directory of made) rmSync(directory, { recursive: true, force: true });
});
const tensorsOf = (directory: string) =>
  new Map([...readTensors(directory)].map(([name, tensor]) => [name, asBF16(tensor)] as const));

describe("updateWeights has the bits of a fresh load", () => {
  const old = voiceOf(first);
  const fresh = voiceOf(second);

  it.each<[string, LoadOptions, () => WeightsSource]>([
    ["from a directory, mapped", {}, () => second],
    ["from a directory, copied", { weights: "copy" }, () => second],
    ["from a directory, over two ranks", { tensorParallel: 2 }, () => second],
    ["from tensors", {}, () => tensorsOf(second)],
    ["from tensors, over two ranks", { tensorParallel: 2 }, () => Object.fromEntries(tensorsOf(second))],
  ])("%s", async (_, options, source) => {
    await withEngine(first, { ...kLoad, ...options }, async (engine) => {
      expect(await voice(engine)).toEqual(await old);
      expect(await engine.updateWeights(source())).toEqual({ version: 1 });
      expect(engine.weightVersion).toBe(1);
      expect(engine.stats()).toMatchObject({ weightVersion: 1, blocks: { cached: 0, owned: 0 } });
      expect(await voice(engine)).toEqual(await fresh);
      const { deviceBytes } = engine.stats();
      expect(await engine.updateWeights(first, { version: 40 })).toEqual({ version: 40 });
      expect(await voice(engine)).toEqual(await old);
      expect(await engine.updateWeights(source())).toEqual({ version: 41 });
      expect(engine.stats().deviceBytes).toBe(deviceBytes);
    });
  });

  it("and 20 times over, without growing", async () => {
    await fresh; // its engine is gone, before anything is counted
    await withEngine(first, kLoad, async (engine) => {
      const sources = [second, tensorsOf(first), first, tensorsOf(second)];
      const update = async (i: number) => engine.updateWeights(sources[i % 4]!);
      for (let i = 0; i < 4; ++i) await update(i);
      const before = { ...resources(), stats: engine.stats() };
      for (let i = 0; i < 20; ++i) await update(i);
      const after = { ...resources(), stats: engine.stats() };
      expect(after).toMatchObject({ threads: before.threads, fds: before.fds });
      expect(after.stats.deviceBytes).toBe(before.stats.deviceBytes);
      expect(after.stats.blocks).toEqual(before.stats.blocks);
      expect(await voice(engine)).toEqual(await fresh);
    });
  });
});

describe("named tensors", () => {
  const fresh = voiceOf(second);
  const shared = (bits: Uint16Array) => {
    const copy = new Uint16Array(new SharedArrayBuffer(bits.byteLength));
    copy.set(bits);
    return copy;
  };
  /** The same in the middle of a buffer, at an odd address. */
  const inside = (bits: Uint16Array) => {
    const bytes = new Uint8Array(bits.byteLength + 3);
    bytes.set(new Uint8Array(bits.buffer), 1);
    return bytes.subarray(1, 1 + bits.byteLength);
  };
  const withData = (data: (bits: Uint16Array) => NamedTensor["data"]) =>
    [...readTensors(second)].map(([name, { shape, values }]) => {
      return [name, { dtype: "BF16", shape, data: data(bitsOf(values)) }] as const;
    });

  it.each<[string, () => WeightsSource]>([
    [
      "in a plain object, bare",
      () => Object.fromEntries([...readTensors(second)].map(([n, t]) => [n, bitsOf(t.values)])),
    ],
    ["as F32, bare", () => [...readTensors(second)].map(([name, { values }]) => [name, values] as const)],
    ["in shared memory", () => withData(shared)],
    ["in a SharedArrayBuffer itself", () => withData((bits) => shared(bits).buffer)],
    ["in an ArrayBuffer", () => withData((bits) => bits.buffer)],
    ["in the middle of one", () => withData(inside)],
    ["from a generator, by names without model.", () => withoutPrefix(withData((bits) => bits))],
  ])("%s", async (_, source) => {
    await withEngine(first, kLoad, async (engine) => {
      await engine.updateWeights(source());
      expect(await voice(engine)).toEqual(await fresh);
    });
  });

  function* withoutPrefix(entries: (readonly [string, NamedTensor])[]) {
    for (const [name, tensor] of entries) yield [name.replace(/^model\./, ""), tensor] as const;
  }

  it("rounds F32 and F16 as the loader does", async () => {
    const scaled = (change: (x: number) => number) => {
      const tensors = readTensors(second);
      for (const tensor of tensors.values()) tensor.values = tensor.values.map(change);
      return tensors;
    };
    const written = (tensors: Map<string, Tensor>) => {
      const directory = model(2);
      writeSafetensors(join(directory, "model.safetensors"), tensors);
      return directory;
    };
    const f32 = scaled((x) => x * 1.001);
    const f16 = scaled((x) => nearestF16(x * 1.001).value);
    await withEngine(first, kLoad, async (engine) => {
      await engine.updateWeights([...f32].map(([name, { values }]) => [name, values] as const));
      expect(await voice(engine)).toEqual(await voiceOf(written(f32)));
      const halves = [...f16].map(([name, { shape, values }]) => {
        const data = Uint16Array.from(values, (x) => nearestF16(x).bits);
        return [name, { dtype: "F16", shape, data }] as const;
      });
      await engine.updateWeights(halves);
      expect(await voice(engine)).toEqual(await voiceOf(written(f16)));
    });
  });

  it("are the caller's again: what becomes of their buffers changes nothing", async () => {
    await withEngine(first, kLoad, async (engine) => {
      const tensors = tensorsOf(second);
      await engine.updateWeights(tensors);
      for (const { data } of tensors.values()) {
        (data as Uint16Array).fill(0x7fc0);
        structuredClone(data, { transfer: [(data as Uint16Array).buffer as ArrayBuffer] });
      }
      expect(await voice(engine)).toEqual(await fresh);
    });
  });

  it("of a tied model: with the copy of the embedding that some name the head, and without", async () => {
    const [one, other] = [model(1, { tied: true }), model(2, { tied: true })];
    await withEngine(one, kLoad, async (engine) => {
      const tensors = tensorsOf(other);
      await engine.updateWeights(tensors);
      const expected = await voiceOf(other);
      expect(await voice(engine)).toEqual(expected);
      await engine.updateWeights(one);
      await engine.updateWeights([...tensors, ["lm_head.weight", tensors.get("model.embed_tokens.weight")!]]);
      expect(await voice(engine)).toEqual(expected);
      await expect(
        engine.updateWeights([...tensors, ["lm_head.weight", tensors.get("model.norm.weight")!]]),
      ).rejects.toMatchObject({
        code: "INVALID_CHECKPOINT",
        message: expect.stringMatching(/lm_head.*shape \[64,32\]/),
      });
    });
  });
});

/** Ties to even, by arithmetic; numbers below 2^-14 are multiples of 2^-24. */
function nearestF16(x: number): { value: number; bits: number } {
  const size = Math.abs(x);
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 1)));
  const spacing = 2 ** (exponent - 10);
  const steps = Math.floor(size / spacing);
  const rest = size / spacing - steps;
  const whole = rest > 0.5 || (rest === 0.5 && steps % 2 === 1) ? steps + 1 : steps;
  const bits = exponent === -14 ? whole : (exponent + 14) * 1024 + whole;
  return { value: Math.sign(x) * whole * spacing, bits: x < 0 ? bits + 0x8000 : bits };
}

describe("a bad update leaves the old weights serving", () => {
  const kHead = "lm_head.weight";
  const kNorm = "model.norm.weight";
  const edited = (edit: (tensors: Map<string, NamedTensor>) => void): WeightsSource => {
    const tensors = tensorsOf(second);
    edit(tensors);
    return tensors;
  };
  const withNorm = (change: object) => () =>
    edited((tensors) => tensors.set(kNorm, { ...tensors.get(kNorm)!, ...change }));
  const poisoned = (bits: number) => () =>
    edited((tensors) => {
      (tensors.get(kHead)!.data as Uint16Array)[77] = bits;
    });
  const architecture = (change: Partial<Shape>) => () => model(2, change);
  const detached = () => {
    const data = new Uint16Array(32);
    structuredClone(data, { transfer: [data.buffer] });
    return data;
  };
  const damaged = (damage: (path: string) => void) => () => {
    const directory = model(2);
    damage(join(directory, "model.safetensors"));
    return directory;
  };
  const nothing = () => undefined;

  it.each<[string, () => unknown, string, RegExp]>([
    [
      "no source",
      nothing,
      "INVALID_ARGUMENT",
      /^Expected a directory or named tensors for the weights but received undefined/,
    ],
    ["an empty path", () => "", "INVALID_ARGUMENT", /a directory or named tensors/],
    ["a directory that is not there", () => "/nowhere", "MODEL_NOT_FOUND", /there is nothing of this name/],
    [
      "a typed array",
      () => new Uint8Array(3),
      "INVALID_ARGUMENT",
      /pairs of a name and a tensor .* received 0/,
    ],
    [
      "no tensors",
      () => ({}),
      "INVALID_CHECKPOINT",
      /the named tensors: tensor 'embed_tokens.weight' is missing|'model.embed_tokens.weight' is missing/,
    ],
    [
      "a missing tensor",
      () => edited((tensors) => tensors.delete(kNorm)),
      "INVALID_CHECKPOINT",
      /the named tensors: tensor 'model.norm.weight' is missing: Expected it with shape \[32\]/,
    ],
    [
      "an extra one",
      () => edited((tensors) => tensors.set("model.more", tensors.get(kNorm)!)),
      "INVALID_CHECKPOINT",
      /tensor 'model.more': Expected only the tensors of a Qwen3 of 2 layers/,
    ],
    ["one twice", () => [...tensorsOf(second), ...tensorsOf(second)], "INVALID_ARGUMENT", /each tensor once/],
    [
      "a wrong shape",
      withNorm({ shape: [16, 2] }),
      "INVALID_CHECKPOINT",
      /'model.norm.weight': Expected shape \[32\].* received \[16,2\]/,
    ],
    [
      "a bare one of a wrong length",
      () => edited((tensors) => tensors.set(kNorm, new Float32Array(31) as never)),
      "INVALID_CHECKPOINT",
      /Expected shape \[32\].* received \[31\]/,
    ],
    [
      "a shape of strings",
      withNorm({ shape: ["32"] }),
      "INVALID_ARGUMENT",
      /an integer from 0 on for shape\[0\]/,
    ],
    ["a wrong dtype", withNorm({ dtype: "F64" }), "INVALID_ARGUMENT", /'BF16' or 'F16' or 'F32' for dtype/],
    ["no data", withNorm({ data: undefined }), "INVALID_ARGUMENT", /its data for tensor 'model.norm.weight'/],
    ["data that is none", withNorm({ data: [1] }), "INVALID_ARGUMENT", /a typed array or a buffer for data/],
    [
      "an unknown key",
      withNorm({ strides: [1] }),
      "INVALID_ARGUMENT",
      /a known option in tensor 'model.norm.weight'/,
    ],
    [
      "too few bytes",
      withNorm({ dtype: "F32" }),
      "INVALID_ARGUMENT",
      /Expected 128 bytes, .* of tensor 'model.norm.weight' but received 64$/,
    ],
    [
      "a detached buffer",
      withNorm({ data: detached() }),
      "INVALID_ARGUMENT",
      /Expected 64 bytes.* received 0: its buffer is detached/,
    ],
    [
      "a bare array on a detached buffer",
      () => edited((tensors) => tensors.set(kNorm, detached() as never)),
      "INVALID_ARGUMENT",
      /Expected 64 bytes.* received 0: its buffer is detached/,
    ],
    [
      "an array of another type",
      () => edited((tensors) => tensors.set(kNorm, new Float64Array(32) as never)),
      "INVALID_ARGUMENT",
      /Expected a Float32Array, a Uint16Array of BF16 bits, or \{ dtype, shape, data \} for tensor 'model.norm.weight'/,
    ],
    [
      "a getter that throws",
      () =>
        edited((tensors) =>
          tensors.set(kNorm, {
            get data() {
              throw new Error("mine");
            },
          } as never),
        ),
      "INVALID_ARGUMENT",
      /reading it threw: mine/,
    ],
    [
      "an iterator that throws",
      function* () {
        yield* tensorsOf(second);
        throw new Error("mine");
      },
      "INVALID_ARGUMENT",
      /reading it threw: mine/,
    ],
    ["NaN", poisoned(0x7fc1), "INVALID_CHECKPOINT", /^lm_head.weight: element 77 is NaN/],
    ["infinity", poisoned(0xff80), "INVALID_CHECKPOINT", /^lm_head.weight: element 77 is infinite/],
    [
      "F32 that rounds to infinity",
      () => edited((tensors) => tensors.set(kNorm, new Float32Array(32).fill(3.4e38) as never)),
      "INVALID_CHECKPOINT",
      /^model.norm.weight: element 0 is infinite, as BF16/,
    ],
    [
      "NaN in a file",
      () => model(2, {}, { edit: (tensors) => (tensors.get(kHead)!.values[9] = Number.NaN) }),
      "INVALID_CHECKPOINT",
      /^lm_head.weight: element 9 is NaN/,
    ],
    [
      "a file cut short",
      damaged((path) => truncateSync(path, 5000)),
      "INVALID_CHECKPOINT",
      /model.safetensors: /,
    ],
    [
      "an unreadable header",
      damaged((path) => writeFileSync(path, Buffer.alloc(100, 1))),
      "INVALID_CHECKPOINT",
      /model.safetensors: /,
    ],
    [
      "no weights",
      damaged((path) => rmSync(path)),
      "INVALID_CHECKPOINT",
      /Expected this file but it does not exist/,
    ],
    [
      "other sizes",
      architecture({ hidden: 48, layers: 3 }),
      "INVALID_CHECKPOINT",
      /config.json: Expected the architecture that the engine was loaded with but received hiddenSize 48 \(loaded: 32\), numLayers 3 \(loaded: 2\)$/,
    ],
    [
      "a tied head",
      architecture({ tied: true }),
      "INVALID_CHECKPOINT",
      /tieWordEmbeddings true \(loaded: false\)/,
    ],
    [
      "another RoPE",
      architecture({ yarnFactor: 4 }),
      "INVALID_CHECKPOINT",
      /rope \{.*yarn.*\} \(loaded: \{.*\}\)$/,
    ],
  ])("%s", async (_, source, code, message) => {
    const engine = await shared;
    const given = source();
    const error = await engine.updateWeights(given as WeightsSource).catch((thrown) => thrown);
    expect({ code: error.code, message: error.message }).toEqual({
      code,
      message: expect.stringMatching(message),
    });
    expect(error.name).toBe("LockstepError");
    expect(engine.weightVersion).toBe(0);
    expect(await voice(engine)).toEqual(await expected);
  });

  const shared = Engine.load(first, kLoad);
  const expected = shared.then(voice);
  afterAll(async () => (await shared).close());

  it.each([
    [{ version: -1 }, /an integer in \[0, 2\^53\) for version/],
    [{ version: 1.5 }, /for version/],
    [{ mode: "now" }, /for mode/],
    [{ partial: true }, /a known option in updateWeights options/],
  ])("options %o", async (options, message) => {
    const engine = await shared;
    const error = await engine.updateWeights(second, options as object).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
  });

  it("a version beyond the largest", async () => {
    await withEngine(first, kLoad, async (engine) => {
      await engine.updateWeights(first, { version: Number.MAX_SAFE_INTEGER });
      await expect(engine.updateWeights(first)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      expect(await engine.updateWeights(second, { version: 7 })).toEqual({ version: 7 });
    });
  });

  it("a file that is cut short between its header and its weights", async () => {
    const { native } = await import("../../src/native.js");
    const directory = model(2);
    const checkpoint = await openCheckpoint(directory);
    const path = join(directory, "model.safetensors");
    truncateSync(path, readFileSync(path).length - 16);
    await expect(new (native().StagedWeights)(checkpoint).read(false)).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(/the file changed since its header was read/),
    });
  });

  it("buffers that are detached while they are read", async () => {
    const engine = await shared;
    const tensors = tensorsOf(second);
    const slowly = function* () {
      yield* tensors;
      for (const start = performance.now(); performance.now() - start < 15; ); // this turn's share
    };
    const generation = engine.generate([{ tokens: [1] }], { maxTokens: 1 }); // begins to count this turn
    setImmediate(() => {
      const { buffer } = tensors.get(kHead)!.data as Uint16Array;
      structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    });
    const update = engine.updateWeights(slowly()).catch((error) => error);
    expect(await update).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/tensor 'lm_head.weight' but received 0: its buffer is detached/),
    });
    await generation;
    expect(await voice(engine)).toEqual(await expected);
  });
});

describe("an update's end", () => {
  it("by its signal: before, while it is read, and while it waits", async () => {
    await withEngine(first, kLoad, async (engine) => {
      const early = engine.updateWeights(second, { signal: AbortSignal.abort("early") });
      await expect(early).rejects.toBe("early");
      const stop = new AbortController();
      const reading = engine.updateWeights(second, { signal: stop.signal });
      stop.abort("reading");
      await expect(reading).rejects.toBe("reading");
      const ends = new AbortController();
      const running = engine.generate({ tokens: [1] }, { ignoreEos: true, seed: 1, signal: ends.signal });
      await until(() => engine.stats().running === 1, "it runs");
      const later = new AbortController();
      const waiting = engine.updateWeights(second, { signal: later.signal }).catch((reason) => reason);
      const queued = engine.updateWeights(second, { version: 9 });
      setTimeout(() => later.abort("waiting"), 50);
      expect(await waiting).toBe("waiting");
      ends.abort();
      expect(await running).toMatchObject({ finishReason: "abort", weightVersion: 0 });
      expect(await queued).toEqual({ version: 9 });
    });
  });

  it("by close()", async () => {
    const engine = await Engine.load(first, kLoad);
    const running = engine.generate({ tokens: [1] }, { ignoreEos: true, seed: 1 }).catch(({ code }) => code);
    await until(() => engine.stats().running === 1, "it runs");
    const updates = [engine.updateWeights(second), engine.updateWeights(first)].map((update) =>
      update.catch(({ code }) => code),
    );
    await engine.close();
    expect(await Promise.all([running, ...updates])).toEqual(Array(3).fill("ENGINE_CLOSED"));
    await expect(engine.updateWeights(second)).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  });

  it("in an engine that has failed", async () => {
    const directory = model(1);
    const engine = await Engine.load(directory, kLoad);
    cpSync(second, directory, { recursive: true }); // in place, under the engine
    await expect(engine.generate({ tokens: [1] })).rejects.toMatchObject({ code: "ENGINE_FAILED" });
    await expect(engine.updateWeights(second)).rejects.toMatchObject({ code: "ENGINE_FAILED" });
    await engine.close();
  });
});

describe("requests under an update", () => {
  const kRequests = 64;
  const prompts = Array.from({ length: kRequests }, (_, i) => ({ tokens: [i, 2 * (i % 32), 3] }));
  const sampling = { maxTokens: 400, ignoreEos: true, seed: 3, logprobs: true };

  const [before, after] = [first, second].map((directory) =>
    withEngine(directory, kLoad, (engine) => engine.generate(prompts, sampling)),
  );

  it.each(["wait", "abort", "continue"] as const)("%s", async (mode) => {
    await withEngine(first, { ...kLoad, maxSequences: 16 }, async (engine) => {
      const requests = prompts.map((prompt) => engine.generate(prompt, sampling));
      await until(() => engine.stats().running === 16, "all that can run do");
      await engine.updateWeights(second, { mode, version: 5 });
      const generations = await Promise.all(requests);
      const [old, fresh] = [await before!, await after!];
      let mixed = 0;
      let late = 0;
      let aborted = 0;
      for (const [i, generation] of generations.entries()) {
        const { tokens, logprobs, weightVersions, weightVersion, finishReason } = generation;
        const spans = weightVersions.map(({ version }) => version);
        expect(weightVersions.reduce((from, span) => (span.from === from ? span.to : Number.NaN), 0)).toBe(
          tokens.length,
        );
        if (finishReason === "abort") ++aborted;
        else expect(finishReason).toBe("length");
        if (spans.length === 1 && spans[0] === 5) {
          ++late;
          expect(whatCounts(generation)).toEqual(whatCounts(fresh[i]));
        } else {
          const { to } = weightVersions[0] ?? { to: 0 }; // a request may be aborted before its first token
          expect(logprobs!.slice(0, to)).toEqual(old[i]!.logprobs!.slice(0, to));
          if (spans.length < 2) continue;
          ++mixed;
          expect({ spans, weightVersion }).toEqual({ spans: [0, 5], weightVersion: 5 });
          // What comes behind is what a fresh engine says behind the same tokens.
          const forcedTokens = tokens.slice(0, to);
          const again = await engine.generate(prompts[i]!, { ...sampling, forcedTokens });
          expect(again.logprobs!.slice(to)).toEqual(logprobs!.slice(to));
          expect(again.tokens).toEqual(tokens);
        }
      }
      expect(late).toBeGreaterThan(0); // had not begun
      if (mode === "continue") expect(mixed).toBeGreaterThan(10);
      else expect(mixed).toBe(0);
      expect(aborted > 0).toBe(mode === "abort");
    });
  });

  it("a score is of one version, and promptLogprobs are", async () => {
    await withEngine(first, { ...kLoad, maxBatchTokens: 8 }, async (engine) => {
      const tokens = Array.from({ length: 3000 }, (_, i) => (i * i) % kShape.vocab);
      const score = engine.score({ tokens });
      const generation = engine.generate(
        { tokens: tokens.slice(1) },
        { maxTokens: 2, promptLogprobs: true, seed: 1 },
      );
      await until(() => engine.stats().computedTokens > 40, "some rows are scored");
      await engine.updateWeights(second, { mode: "continue" });
      expect(engine.stats()).toMatchObject({ running: expect.any(Number), generatedTokens: 0 });
      const results = [await score, await generation] as const;
      await withEngine(second, kLoad, async (fresh) => {
        const expected = await fresh.score({ tokens });
        expect(results[0].logprobs).toEqual(expected.logprobs);
        expect(results[0].weightVersion).toBe(1);
        const { promptLogprobs } = await fresh.generate(
          { tokens: tokens.slice(1) },
          { maxTokens: 2, promptLogprobs: true, seed: 1 },
        );
        expect(results[1].promptLogprobs).toEqual(promptLogprobs);
      });
    });
  });

  it("an embedding is of one version", async () => {
    const input = { tokens: Array.from({ length: 3000 }, (_, i) => (i * i) % kShape.vocab) };
    const expected = await withEngine(second, kLoad, (other) => other.embed(input, { pooling: "mean" }));
    await withEngine(first, { ...kLoad, maxBatchTokens: 8 }, async (engine) => {
      const embedding = engine.embed(input, { pooling: "mean" });
      await until(() => engine.stats().computedTokens > 40, "some rows are pooled");
      await engine.updateWeights(second, { mode: "continue" });
      expect(engine.stats().running + engine.stats().queue).toBe(1); // not done yet
      expect(await embedding).toEqual(expected);
    });
  });

  it("go on while a paused engine's weights change", async () => {
    await withEngine(first, kLoad, async (engine) => {
      const request = engine.generate({ tokens: [1, 2, 3] }, { ...sampling, maxTokens: 2000 });
      await until(() => engine.stats().generatedTokens > 3, "tokens are generated");
      await engine.pause({ mode: "continue" });
      await expect(engine.updateWeights(second)).rejects.toMatchObject({
        message: expect.stringMatching(/^Expected mode 'abort' or 'continue'/),
      });
      await engine.flushCache();
      await engine.updateWeights(second, { mode: "continue" });
      const { generatedTokens } = engine.stats();
      engine.continue();
      expect((await request).weightVersions).toEqual([
        { version: 0, from: 0, to: generatedTokens },
        { version: 1, from: generatedTokens, to: 2000 },
      ]);
    });
  });
});
