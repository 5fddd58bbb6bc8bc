/**
 * The forward pass against Hugging Face transformers, by the yardstick of the goldens' README: transformers' own BF16
 * run lies a certain distance from its float32 run, and ours must lie no further (1.1 ×).
 */
import { Engine } from "lockstep";
import { describe, expect, it } from "vitest";
import { describeIfShared } from "../support/shared.js";
import { goldenDirectory, kCausalModels, readGolden, rmsOver, yardstick } from "./goldens.js";
import { openNativeModel, testingAddon } from "./native-model.js";
import { Reference, rmsDistance } from "./reference.js";
import { widen } from "./safetensors.js";

/**
 * How far float64 may lie from transformers' float32, in yardsticks. Both runs of the yardstick round at the same places
 * and float32 has 16 more bits, of which a sum of K <= 1,024 terms loses sqrt(K) = 2^5 at most.
 */
const kFloat32Share = 2 ** -11;

describeIfShared("the golden models", () => {
  describe.each(kCausalModels)("%s", (model) => {
    const prompts = readGolden(model);
    const rms = yardstick(prompts);

    it("has logits that the float64 reference agrees with", () => {
      const reference = new Reference(goldenDirectory(model));
      const distance = rmsOver(prompts, ({ tokens }) => reference.forward(tokens).logits, "logits_f32");
      console.log(`${model}: float64 reference at ${(distance / rms).toExponential(2)} of the yardstick`);
      expect(distance / rms).toBeLessThan(kFloat32Share);
    });

    it("has logits that we are as near to as transformers in BF16, on every compute path", async () => {
      for (const path of testingAddon().cpuPaths()) {
        const native = await openNativeModel(goldenDirectory(model), path);
        const ours = (tokens: number[], chunk: number) =>
          native.forward(Int32Array.from(tokens), chunk).logits;
        const ratio = rmsOver(prompts, ({ tokens }) => ours(tokens, 1024), "logits_f32") / rms;
        console.log(
          `${model} on ${path}: RMS ${(ratio * rms).toExponential(3)}, ${ratio.toFixed(3)} of the yardstick`,
        );
        expect(ratio).toBeLessThanOrEqual(1.1);
        expect(ratio).toBeGreaterThan(0.1); // nearer than BF16 can be: the goldens were compared with themselves
        const { tokens } = prompts.at(-1)!;
        expect(ours(tokens, 7)).toEqual(ours(tokens, 1024));
      }
    });

    it("gives the golden greedy tokens where the gap is wide enough", async () => {
      await using engine = await Engine.load(goldenDirectory(model));
      for (const { tokens, greedy } of prompts) {
        const generation = await engine.generate(
          { tokens },
          { temperature: 0, maxTokens: 24, ignoreEos: true },
        );
        expect(generation.tokens).toHaveLength(24);
        const differs = generation.tokens.findIndex((token, i) => token !== greedy.tokens[i]);
        if (differs < 0) continue;
        const gap = greedy.gaps[differs]!;
        console.log(`${model}: step ${differs} differs, golden gap ${gap} (allowed below ${4 * rms})`);
        expect(gap).toBeLessThan(4 * rms);
      }
    });
  });

  it("cannot pass by an empty yardstick", () => {
    for (const model of kCausalModels) expect(yardstick(readGolden(model))).toBeGreaterThan(1e-4);
  });
});

describeIfShared("the golden embedding model", () => {
  const prompts = readGolden("embedding");
  const lastRow = (rows: ArrayLike<number>, D: number) => Array.from(rows).slice(-D);
  const unit = (vector: ArrayLike<number>) => {
    const norm = Math.hypot(...Array.from(vector));
    return Array.from(vector, (x) => x / norm);
  };

  it("has hidden states that the float64 reference agrees with", () => {
    const reference = new Reference(goldenDirectory("embedding"));
    const distance = rmsOver(
      prompts,
      ({ tokens }) => lastRow(reference.forward(tokens).hidden, 96),
      "hidden_f32",
    );
    const rms = rmsOver(prompts, () => new Float32Array(96), "hidden_f32");
    expect(distance / rms).toBeLessThan(2 ** -8 * kFloat32Share); // 2^-8: BF16's unit, which the yardstick has built in
  });

  // No golden BF16 run exists for it: the yardstick is the reference with BF16 roundings. 1.25 instead of 1.1, because
  // an RMS over four vectors, whose values share their roundings, is itself known to some 10 % only.
  it("has embeddings that we are as near to as a rounded reference, on every compute path", async () => {
    const rounded = new Reference(goldenDirectory("embedding"), { rounded: true });
    const embed = (hidden: ArrayLike<number>, size: number) => unit(lastRow(hidden, 96).slice(0, size));
    for (const path of testingAddon().cpuPaths()) {
      const native = await openNativeModel(goldenDirectory("embedding"), path);
      for (const [name, size] of [
        ["embedding_f32", 96],
        ["embedding32_f32", 32],
      ] as const) {
        const distance = (hidden: (tokens: number[]) => ArrayLike<number>) =>
          rmsOver(prompts, ({ tokens }) => embed(hidden(tokens), size), name);
        const ours = distance((tokens) => widen(native.forward(Int32Array.from(tokens), 1024).hidden));
        const yard = distance((tokens) => rounded.forward(tokens).hidden);
        console.log(
          `embedding on ${path}, ${name}: RMS ${ours.toExponential(3)}, ${(ours / yard).toFixed(3)} of rounded`,
        );
        expect(ours / yard).toBeLessThanOrEqual(1.25);
      }
    }
  });

  it("has the vectors that its README describes", () => {
    for (const prompt of prompts) {
      const hidden = prompt.tensor("hidden_f32");
      expect(rmsDistance(unit(hidden), prompt.tensor("embedding_f32"))).toBeLessThan(1e-6);
      expect(rmsDistance(unit(hidden.subarray(0, 32)), prompt.tensor("embedding32_f32"))).toBeLessThan(1e-6);
    }
  });
});
