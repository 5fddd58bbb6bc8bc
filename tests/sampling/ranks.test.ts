/** Every golden model on two ranks: the logits of one, bit for bit, or a typed error where it cannot be split. */
import { Engine } from "lockstep";
import { expect, it } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { maxRanks } from "../../src/options.js";
import { goldenDirectory, kCausalModels, readGolden } from "../model/goldens.js";
import { openNativeModel, testingAddon } from "../model/native-model.js";
import { describeIfShared } from "../support/shared.js";

async function logitsOf(
  directory: string,
  ranks: number,
  computePath: string,
  tokens: number[],
  chunk: number,
): Promise<Uint32Array> {
  const model = await openNativeModel(directory, computePath, 2, ranks);
  const { logits } = model.forward(Int32Array.from(tokens), chunk);
  return new Uint32Array(logits.buffer, logits.byteOffset, logits.length);
}

describeIfShared("golden models on two ranks", () => {
  let split = 0;

  it.each(kCausalModels)("%s", async (model) => {
    const directory = goldenDirectory(model);
    const { config } = await openCheckpoint(directory);
    if (maxRanks(config) === 1) {
      await expect(Engine.load(directory, { tensorParallel: 2 })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/divisor of R_max = 1 .*tensorParallel/),
      });
      return;
    }
    ++split;
    for (const path of testingAddon().cpuPaths())
      for (const { tokens } of readGolden(model)) {
        const one = await logitsOf(directory, 1, path, tokens, 1024);
        expect(one.length).toBe(tokens.length * config.vocabSize);
        for (const chunk of [1024, 7])
          expect(Buffer.compare(await bytes(directory, path, tokens, chunk), bufferOf(one))).toBe(0);
      }
    await expect(Engine.load(directory, { tensorParallel: 3 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("are not all excused", () => {
    expect(split).toBeGreaterThanOrEqual(3);
  });

  const bufferOf = (words: Uint32Array) => Buffer.from(words.buffer, words.byteOffset, words.byteLength);
  const bytes = async (directory: string, path: string, tokens: number[], chunk: number) =>
    bufferOf(await logitsOf(directory, 2, path, tokens, chunk));
});
