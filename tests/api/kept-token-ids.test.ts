/** keptTokenIds: when they are there, what they are of tokens that were not drawn, and how many a result may hold. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine, type SamplingOptions } from "lockstep";
import { expect, it } from "vitest";
import { type WriteOptions, writeRandomCheckpoint } from "../model/random-checkpoint.js";
import { kDemoModel, kTokens } from "./support.js";

it("keptTokenIds are there when asked for, one set per token, of forced ones too, and change nothing", async () => {
  const engine = await Engine.load(kDemoModel, { threads: 1 });
  const options = { temperature: 1.5, topP: 0.9, seed: 9, ignoreEos: true, maxTokens: 20 };
  const generate = (more: SamplingOptions = {}) => engine.generate(kTokens, { ...options, ...more });
  const without = await generate();
  expect(without).not.toHaveProperty("keptTokenIds");
  expect(await generate({ keptTokenIds: false })).not.toHaveProperty("keptTokenIds");
  const { tokens, keptTokenIds } = await generate({ keptTokenIds: true });
  expect(tokens).toEqual(without.tokens);
  expect(keptTokenIds).toHaveLength(20);
  for (const [i, ids] of keptTokenIds!.entries()) expect(ids).toContain(tokens[i]);

  const unlikely = Array.from({ length: 704 }, (_, id) => id).find((id) => !keptTokenIds![0]!.includes(id))!;
  const forced = await generate({ keptTokenIds: true, forcedTokens: [unlikely] });
  expect(forced.tokens[0]).toBe(unlikely);
  expect(forced.keptTokenIds![0]).toEqual(keptTokenIds![0]);

  const greedy = await generate({ keptTokenIds: true, temperature: 0 });
  expect(greedy.keptTokenIds).toEqual(greedy.tokens.map((token) => [token]));
  await engine.close();
});

it("a result holds 2^24 of them: one more is the request's error, and what was there stays", async () => {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-kept-"));
  const vocab = 2 ** 20;
  const tiny = { layers: 1, hidden: 2, heads: 1, kvHeads: 1, headDim: 2, mlp: 2, context: 64, tied: true };
  const edit: WriteOptions["edit"] = (tensors) => tensors.get("model.embed_tokens.weight")!.values.fill(0);
  writeRandomCheckpoint(directory, { ...tiny, vocab }, { edit }); // all logits are 0
  const engine = await Engine.load(directory, { threads: 2 });
  const options = { temperature: 1, seed: 1, minP: 0.5, ignoreEos: true, keptTokenIds: true };
  const [generation] = await engine.generate([{ tokens: [1, 2, 3] }], options);
  expect(generation!.error).toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.stringMatching(
      /at most 16777216 keptTokenIds in one result .* more after 17 tokens: lower topK/,
    ),
  });
  expect(generation!.tokens).toHaveLength(16);
  expect(generation!.keptTokenIds!.map((ids) => ids.length)).toEqual(Array(16).fill(vocab));
  await engine.close();
  rmSync(directory, { recursive: true });
});
