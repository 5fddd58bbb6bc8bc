/** Episodes of several turns: what stands between them, what the sample says of it, and what ends them. */
import { type ChatMessage, Engine, type RolloutSample, type TurnCallback } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runEpisode } from "../../examples/demo/episode.mjs";
import { parseToolCalls } from "../../src/chat/tool-calls.js";
import { homeRequest, kDomain, kGreedy, kTasks, type kTools } from "./home.js";
import { collect, faults, kDemoModel, whatCounts, withEngine } from "./support.js";

const kEnd = 696; // <|im_end|>

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(kDemoModel, { threads: 1 });
});
afterAll(() => engine.close());

/** The model's turns, each as ids. */
function answers({ tokens, responseLength, lossMask }: RolloutSample): number[][] {
  const turns: number[][] = [];
  lossMask.forEach((mask, i) => {
    if (mask === 0) return;
    if (lossMask[i - 1] !== 1) turns.push([]);
    turns.at(-1)!.push(tokens[tokens.length - responseLength + i]!);
  });
  return turns;
}

/** Says the same until the model has had `turns` turns. */
const say =
  (turns: number, content = "Go on."): TurnCallback =>
  (sample) =>
    sample.turns < turns ? { messages: [{ role: "user", content }] } : null;

const { prompt } = homeRequest(kTasks[0]!);

/** One sample of a task, greedy unless `sampling` says otherwise. */
async function play(turn: TurnCallback, options: object = {}, on = engine): Promise<RolloutSample> {
  const [sample] = await collect(on.rollouts([{ prompt }], { ...kGreedy, seed: 1, turn, ...options }));
  expect(sample!.error).toBeUndefined();
  expect(faults(sample!)).toEqual([]);
  return sample!;
}

describe("the demo's tasks", () => {
  const tasks = kTasks.slice(0, 16);

  it("come out as its own loop plays them, from a cache that knew the turns before", async () => {
    await withEngine({ threads: 1 }, async (fresh) => {
      const samples = await collect(fresh.rollouts(tasks.map(homeRequest), kGreedy));
      const attempts = await Promise.all(tasks.map((task) => runEpisode(engine, kDomain, task)));
      for (const [i, task] of tasks.entries()) {
        const [sample, attempt] = [samples[i]!, attempts[i]!];
        expect(faults(sample), task.id).toEqual([]);
        expect(answers(sample), task.id).toEqual(attempt.turns.map(({ tokens }) => tokens));
        expect(sample.reward).toBe(attempt.success ? 1 : 0);
        expect(sample).toMatchObject({ finishReason: "stop", stop: kEnd, metadata: task.id });
        const asked = attempt.turns.map(({ promptTokens }) => promptTokens);
        expect(sample.usage.promptTokens).toBe(asked.reduce((a, b) => a + b));
        // Between turns only the last block, and what is new, are computed again.
        const before = asked.slice(0, -1).reduce((a, b) => a + b, 0);
        expect(sample.usage.cachedTokens).toBeGreaterThanOrEqual(before - 16 * asked.length);
      }
      expect(samples.filter(({ turns }) => turns > 1).length).toBeGreaterThan(12);
    });
  });

  it("are the ids of the conversation rendered whole", async () => {
    const request = homeRequest(kTasks[0]!);
    const [sample] = await collect(engine.rollouts([request], kGreedy));
    const { messages, tools } = request.prompt as { messages: ChatMessage[]; tools: typeof kTools };
    const said = [
      { role: "assistant", content: engine.tokenizer.decode(answers(sample!)[0]!.slice(0, -1)) },
      { role: "tool", content: '{"ok": true}' },
      { role: "assistant", content: engine.tokenizer.decode(answers(sample!)[1]!.slice(0, -1)) },
    ];
    const whole = engine.tokenizer.applyChatTemplate([...messages, ...said], { tools });
    expect(engine.tokenizer.decode(sample!.tokens)).toBe(whole.trimEnd());
    expect(sample!.tokens).toEqual(engine.tokenizer.encode(whole.trimEnd()));
    expect(sample).toMatchObject({ prompt: messages, promptOptions: { tools } });
  });

  it("have the logprobs that score gives", async () => {
    const options = { sampling: { temperature: 1, maxTokens: 40 }, n: 4, seed: 3, turn: say(3) };
    for (const { tokens, responseLength, ...sample } of await collect(
      engine.rollouts([homeRequest(kTasks[1]!)], { ...options, maxResponseTokens: 200 }),
    )) {
      const { logprobs } = await engine.score({ tokens }, { from: tokens.length - responseLength });
      expect(sample.logprobs).toEqual(logprobs.map((one, i) => (sample.lossMask[i] ? one : 0)));
    }
  });
});

describe("a turn", () => {
  it("sees the sample so far, a copy, and what the model said last", async () => {
    const seen: RolloutSample[] = [];
    const texts: string[] = [];
    const sample = await play((sample, { text, toolCalls, signal }) => {
      expect([toolCalls, signal.aborted]).toEqual([parseToolCalls(text), false]);
      seen.push(structuredClone(sample));
      texts.push(text);
      sample.tokens.length = 0;
      sample.lossMask.fill(7);
      sample.usage.promptTokens = -1;
      return seen.length < 3 ? { text: "<|im_end|>\nand" } : undefined;
    });
    expect(seen.map(({ turns }) => turns)).toEqual([1, 2, 3]);
    expect(seen.map(({ finishReason }) => finishReason)).toEqual(["stop", "stop", "stop"]);
    expect(seen[2]).toEqual(sample);
    expect(texts).toEqual(answers(sample).map((ids) => engine.tokenizer.decode(ids.slice(0, -1))));
  });

  it("has an object of its episode's own", async () => {
    const run = engine.rollouts([{ prompt, n: 3 }], {
      ...kGreedy,
      turn: (_, { state }) => {
        state.asked = (state.asked ?? 0) + 1;
        return state.asked < 3 ? { text: "?" } : null;
      },
      reward: (_, { state }) => state.asked,
    });
    expect((await collect(run)).map(({ turns, reward }) => [turns, reward])).toEqual(Array(3).fill([3, 3]));
  });

  it("adds the end of the model's turn where that stopped without it", async () => {
    const stop = '": "';
    const sample = await play(say(2), { sampling: { ...kGreedy.sampling, stop } });
    const response = sample.tokens.slice(-sample.responseLength);
    const first = sample.lossMask.indexOf(0);
    expect(response[first]).toBe(kEnd);
    expect(response[first - 1]).not.toBe(kEnd);
    expect(sample.stop).toBe(stop);
    const whole = await play(say(2));
    const cut = whole.lossMask.indexOf(0);
    expect(whole.tokens.at(-whole.responseLength + cut)).not.toBe(kEnd); // it stands before, and counts
  });

  it("may say anything: ids are appended as they are", async () => {
    const sample = await play(({ turns }) => (turns < 2 ? { tokens: Int32Array.of(7, 8, 9) } : null));
    const at = sample.lossMask.indexOf(0);
    const from = sample.tokens.length - sample.responseLength + at;
    expect(sample.tokens.slice(from, from + 4)).toEqual([7, 8, 9, sample.tokens[from + 3]]);
    expect(sample.lossMask.slice(at, at + 4)).toEqual([0, 0, 0, 1]);
  });

  it("goes on from ids that are never encoded again", async () => {
    // "living" + "s" as ids that the tokenizer would not choose: spelt letter by letter.
    const letters = [..."garage"].map((letter) => engine.tokenizer.encode(letter)[0]!);
    const prompt = { tokens: [...engine.tokenizer.encode("Set the "), ...letters] };
    const turn: TurnCallback = ({ turns }) => (turns < 2 ? { text: "?" } : null);
    const [sample] = await collect(
      engine.rollouts([{ prompt, turn }], { sampling: { temperature: 0, maxTokens: 400 } }),
    );
    expect(sample!.tokens.slice(0, prompt.tokens.length)).toEqual(prompt.tokens);
    expect(sample!.prompt).toEqual(prompt.tokens);
    expect(engine.tokenizer.encode(engine.tokenizer.decode(sample!.tokens))).not.toEqual(sample!.tokens);
  });
});

describe("an episode ends as truncated", () => {
  it("where a turn runs into its maxTokens, without asking the environment", async () => {
    let asked = 0;
    const turn: TurnCallback = () => ({ text: `${++asked}` });
    const sample = await play(turn, { sampling: { temperature: 0, maxTokens: 3 } });
    expect(sample).toMatchObject({ finishReason: "length", responseLength: 3, turns: 1 });
    expect([asked, sample.stop]).toEqual([0, undefined]);
  });

  it("at maxResponseTokens, over all turns and observations", async () => {
    const whole = await play(say(4));
    expect(whole).toMatchObject({ finishReason: "stop", turns: 4 });
    for (let budget = 1; budget < whole.responseLength; budget += 6) {
      const sample = await play(say(4), { maxResponseTokens: budget });
      expect(sample).toMatchObject({ finishReason: "length", maxResponseTokens: budget });
      expect(sample.responseLength).toBeLessThanOrEqual(budget);
      expect(sample.tokens).toEqual(whole.tokens.slice(0, sample.tokens.length));
      expect(sample.lossMask.at(-1)).toBe(1); // an observation that leaves no room for an answer is not taken
      const next = whole.lossMask.indexOf(1, sample.responseLength); // where the model would go on
      expect(next >= budget || sample.responseLength === budget).toBe(true);
    }
    expect(await play(say(4), { maxResponseTokens: whole.responseLength })).toMatchObject({
      ...whatCounts(whole),
      maxResponseTokens: whole.responseLength,
    });
  });

  it("at the context", async () => {
    const whole = await play(say(4));
    for (const less of [1, 5, 9, 20]) {
      const maxContext = whole.tokens.length - less;
      await withEngine({ threads: 1, maxContext }, async (small) => {
        const sample = await play(say(4), {}, small);
        expect(sample.finishReason).toBe("length");
        expect(sample.tokens).toEqual(whole.tokens.slice(0, sample.tokens.length));
        expect(sample.tokens.length).toBeLessThanOrEqual(maxContext);
      });
    }
  });
});
