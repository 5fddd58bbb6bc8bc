/** NaN or infinite logits: an error of that request that names the position, and with `debug` the layer (RELIABILITY R16). */
import { rmSync } from "node:fs";
import type { LoadOptions } from "lockstep";
import { describe, expect, it } from "vitest";
import { kTinyVocab, poison, whatCounts, withEngine, writeTinyModel } from "./support.js";

const load: LoadOptions = { device: "cpu", threads: 1, kvCacheTokens: 256 };
const prompt = { tokens: [5, 6, 7, 8, 9, kTinyVocab - 1, 3, 4] };
const greedy = { temperature: 0, maxTokens: 4 };

/** What a request says on a checkpoint of which one tensor holds `value` at `index`. */
async function failure(tensor: string, value: number, options: LoadOptions, index = 0) {
  const model = writeTinyModel(64, (tensors) => {
    tensors.get(`${tensor}.weight`)!.values[index] = value;
  });
  const error = await withEngine(model, { ...load, ...options }, (engine) =>
    engine.generate(prompt, greedy).catch((error) => error),
  );
  rmSync(model, { recursive: true });
  expect(error).toMatchObject({ code: "NON_FINITE_LOGITS" });
  return error.message as string;
}

const kText = "The model's logits at position 7 hold NaN or infinity";

describe("logits that are not finite", () => {
  it.each([
    ["model.layers.1.mlp.down_proj", Number.NaN, "the MLP of model.layers.1, at position 0"],
    [
      "model.layers.0.self_attn.o_proj",
      Number.POSITIVE_INFINITY,
      "the attention of model.layers.0, at position 0",
    ],
    ["model.layers.1.input_layernorm", 3e38, "the attention of model.layers.1, at position 0"], // overflows
    ["model.norm", Number.NEGATIVE_INFINITY, "the last norm, at position 0"],
    ["lm_head", Number.NaN, "the head, at position 7"],
  ])("with debug, %s with %d in it is found", async (tensor, value, place) => {
    const text = await failure(tensor, value, { debug: true });
    expect(text).toMatch(`${kText}: `);
    expect(text).toMatch(new RegExp(`; first in ${place}$`));
  });

  it.each<[string, LoadOptions]>([
    ["in one step", {}],
    ["in chunks of 3", { maxBatchTokens: 3 }],
    ["on two ranks", { tensorParallel: 2 }],
  ])("with debug, they come from the token that brought them, %s", async (_, options) => {
    const text = await failure(
      "model.embed_tokens",
      Number.NaN,
      { ...options, debug: true },
      (kTinyVocab - 1) * 32,
    );
    expect(text).toMatch(/^The model's logits at position 7 .*; first in the embedding, at position 5$/);
  });

  it("without it, the text says how to learn more", async () => {
    const text = await failure("model.layers.1.mlp.down_proj", Number.NaN, {});
    expect(text).toMatch(
      /^The model's logits at position 7 .* \(Engine\.load's option debug names the layer\)$/,
    );
  });

  it("debug asks again where the prefix cache would know, and changes no bit of anybody else", async () => {
    const model = writeTinyModel(64);
    poison(model, kTinyVocab - 1);
    const sampling = { maxTokens: 8, seed: 1, logprobs: true, logitBias: { [kTinyVocab - 1]: -Infinity } };
    const run = (debug: boolean) =>
      withEngine(model, { ...load, debug }, async (engine) => {
        const long = { tokens: [...prompt.tokens, ...Array(20).fill(7)] }; // a block that could be shared
        const good = [[1, 2, 3], [4]].map((tokens) => engine.generate({ tokens }, sampling));
        const bad = [await engine.generate(long).catch(String), await engine.generate(long).catch(String)];
        return { good: (await Promise.all(good)).map(whatCounts), bad };
      });
    const [on, off] = [await run(true), await run(false)];
    rmSync(model, { recursive: true });
    expect(on.good).toEqual(off.good);
    for (const text of on.bad) expect(text).toMatch(/first in the embedding, at position 5$/);
  });
});
