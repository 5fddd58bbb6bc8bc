/**
 * What the three logprobs of a token mean, to the letter: recomputed here from the raw logprobs of the whole vocabulary
 * (topLogprobs as long as it). And the shapes of score().
 */
import { Engine, type SamplingOptions } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kDemoModel, kEndless, kTokens } from "./support.js";

const kVocab = 704;

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(kDemoModel, { threads: 1 });
});
afterAll(() => engine.close());

interface Entry {
  token: number;
  logprob: number;
}

const logSumExp = (values: number[]) => {
  const max = Math.max(...values);
  return max + Math.log(values.reduce((sum, value) => sum + Math.exp(value - max), 0));
};

/** transformers' order: temperature, top-k, top-p; ties to the lower id. Returns the two logprobs of `token`. */
function expected(row: Entry[], token: number, { temperature = 1, topK = 0, topP = 1 }: SamplingOptions) {
  const rawOf = row.find((entry) => entry.token === token)!.logprob;
  if (temperature === 0) return { temperatureLogprob: rawOf, samplingLogprob: 0 };
  let kept = row.map((entry) => ({ token: entry.token, logit: entry.logprob / temperature }));
  const normalise = () => {
    const total = logSumExp(kept.map(({ logit }) => logit));
    return kept.map(({ token, logit }) => ({ token, logit: logit - total }));
  };
  kept = normalise();
  const temperatureLogprob = kept.find((entry) => entry.token === token)!.logit;
  if (topK > 0) kept = kept.slice(0, topK);
  kept = normalise();
  let before = 0;
  kept = kept.filter(({ logit }) => {
    const keep = before < topP;
    before += Math.exp(logit);
    return keep;
  });
  return { temperatureLogprob, samplingLogprob: normalise().find((entry) => entry.token === token)!.logit };
}

describe("logprobs", () => {
  const cases: SamplingOptions[] = [
    { temperature: 0, topK: 20 },
    { temperature: 1 },
    { temperature: 0.5 },
    { temperature: 2 },
    { temperature: 1.3, topK: 7 },
    { temperature: 1.5, topP: 0.8 },
    { temperature: 0.9, topK: 40, topP: 0.9 },
    { temperature: 1.7, topK: 1 },
    { temperature: 1, topP: 1e-6 },
  ];

  it.each(cases)("are what they are said to be: %o", async (sampling) => {
    const options = { topK: 0, topP: 1, ...sampling, ignoreEos: true, maxTokens: 40, seed: 3 };
    const generation = await engine.generate(kTokens, { ...options, logprobs: true, topLogprobs: kVocab });
    expect(generation.topLogprobs).toHaveLength(40);
    for (const [i, token] of generation.tokens.entries()) {
      const row = generation.topLogprobs![i]!;
      const raw = row.find((entry) => entry.token === token)!.logprob;
      expect(generation.logprobs![i]).toBe(raw);
      const { temperatureLogprob, samplingLogprob } = expected(row, token, options);
      expect(generation.temperatureLogprobs![i]).toBeCloseTo(temperatureLogprob, 5);
      expect(generation.samplingLogprobs![i]).toBeCloseTo(samplingLogprob, 5);
      if (sampling.temperature === 0) expect(token).toBe(row[0]!.token);
    }
  });

  it("list the whole vocabulary where that is asked for: sorted, ties to the lower id, probabilities summing to 1", async () => {
    const { topLogprobs } = await engine.generate(kTokens, { ...kEndless, maxTokens: 4, topLogprobs: 1024 });
    for (const row of topLogprobs!) {
      expect(row).toHaveLength(kVocab);
      expect(new Set(row.map(({ token }) => token)).size).toBe(kVocab);
      for (let i = 1; i < row.length; ++i) {
        const [a, b] = [row[i - 1]!, row[i]!];
        expect(a.logprob > b.logprob || (a.logprob === b.logprob && a.token < b.token)).toBe(true);
      }
      expect(row.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)).toBeCloseTo(1, 6);
    }
  });

  it("are there when asked for, and only then", async () => {
    const keys = ["logprobs", "temperatureLogprobs", "samplingLogprobs", "topLogprobs"];
    const given = async (options: SamplingOptions) => {
      const generation = await engine.generate(kTokens, { ...kEndless, maxTokens: 3, ...options });
      return keys.filter((key) => key in generation);
    };
    expect(await given({})).toEqual([]);
    expect(await given({ logprobs: true })).toEqual(keys.slice(0, 3));
    expect(await given({ topLogprobs: 2 })).toEqual(["topLogprobs"]);
    expect(await given({ logprobs: true, topLogprobs: 2 })).toEqual(keys);
    expect(await given({ logprobs: false, topLogprobs: 0 })).toEqual([]);
  });

  it("do not change what is drawn", async () => {
    const options = { temperature: 1.5, seed: 9, ignoreEos: true, maxTokens: 20 };
    const { tokens } = await engine.generate(kTokens, options);
    expect((await engine.generate(kTokens, { ...options, logprobs: true, topLogprobs: 5 })).tokens).toEqual(
      tokens,
    );
  });
});

describe("score", () => {
  const tokens = [695, 82, 88, 274, 68, 76, 198, 340, 350, 266];
  const ids = [0, 76, 703];

  it("has a row for each position from `from` on; that of position 0 is null", async () => {
    for (const from of [0, 1, 3, 9, 10]) {
      const score = await engine.score({ tokens }, { from, topLogprobs: 2, tokenIds: ids });
      expect(score).toMatchObject({ tokens, from, usage: { promptTokens: 10, completionTokens: 0 } });
      for (const rows of [score.logprobs, score.topLogprobs!, score.tokenIdLogprobs!]) {
        expect(rows).toHaveLength(10 - from);
        expect(rows.map((row) => row === null)).toEqual(
          Array.from({ length: 10 - from }, (_, i) => from + i === 0),
        );
      }
      for (const row of score.topLogprobs!) if (row) expect(row).toHaveLength(2);
      for (const row of score.tokenIdLogprobs!) if (row) expect(row).toHaveLength(3);
    }
  });

  it("gives the same rows whatever `from` is", async () => {
    const all = await engine.score({ tokens }, { topLogprobs: 3, tokenIds: ids });
    const tail = await engine.score({ tokens }, { topLogprobs: 3, tokenIds: ids, from: 4 });
    expect(tail.logprobs).toEqual(all.logprobs.slice(4));
    expect(tail.topLogprobs).toEqual(all.topLogprobs!.slice(4));
    expect(tail.tokenIdLogprobs).toEqual(all.tokenIdLogprobs!.slice(4));
  });

  it("speaks of each token given those before it", async () => {
    const score = await engine.score({ tokens }, { topLogprobs: kVocab, tokenIds: tokens });
    for (let i = 1; i < tokens.length; ++i) {
      const row = score.topLogprobs![i]!;
      expect(score.logprobs[i]).toBe(row.find(({ token }) => token === tokens[i])!.logprob);
      expect(score.tokenIdLogprobs![i]).toEqual(
        tokens.map((id) => row.find(({ token }) => token === id)!.logprob),
      );
      const next = await engine.generate(
        { tokens: tokens.slice(0, i) },
        { ...kEndless, maxTokens: 1, topLogprobs: 3 },
      );
      expect(next.topLogprobs![0]).toEqual(row.slice(0, 3));
    }
  });

  it("leaves out what was not asked for", async () => {
    const score = await engine.score({ tokens });
    expect(Object.keys(score).sort()).toEqual(["from", "logprobs", "tokens", "usage", "weightVersion"]);
    expect(await engine.score({ tokens }, { tokenIds: [], topLogprobs: 0 })).toEqual(score);
  });

  it("takes one token, text, messages, typed arrays and arrays of inputs", async () => {
    expect((await engine.score({ tokens: [5] })).logprobs).toEqual([null]);
    expect((await engine.score({ tokens: [5] }, { from: 1 })).logprobs).toEqual([]);
    const text = await engine.score("turn on the light");
    expect(text.tokens).toEqual(Array.from(engine.tokenizer.encode("turn on the light")));
    expect(text.logprobs).toHaveLength(text.tokens.length);
    const chat = await engine.score({ messages: [{ role: "user", content: "hello" }] });
    expect(chat.logprobs).toHaveLength(chat.tokens.length);
    const typed = await engine.score(
      { tokens: Uint16Array.from(tokens) },
      { tokenIds: Uint32Array.from(ids) },
    );
    expect(typed.tokenIdLogprobs!.at(-1)).toHaveLength(3);
    const [first, second] = await engine.score([{ tokens }, "turn on the light"]);
    expect(first!.tokens).toEqual(tokens);
    expect(second).toEqual(text);
    expect(await engine.score([])).toEqual([]);
  });
});
