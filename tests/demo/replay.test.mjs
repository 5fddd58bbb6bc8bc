/**
 * The golden transcripts replayed through the demo's tool loop: with their answers put in the model's place, the
 * environment must lead to the same prompts, turns and outcomes. No engine takes part.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { homeDomain } from "lockstep/eval";
import { expect, it } from "vitest";
import { runEpisode } from "../../examples/demo/episode.mjs";
import { compareWithGolden } from "../../examples/demo/golden.mjs";
import { parseToolCalls } from "../../src/chat/tool-calls.ts";
import { Tokenizer } from "../../src/tokenizer/tokenizer.ts";

const DEMO = new URL("../../examples/demo/", import.meta.url);
const textOf = (name) => readFileSync(new URL(name, DEMO), "utf8");

it("leads to the golden prompts, turns and outcomes", async () => {
  const tokenizer = await Tokenizer.fromDirectory(fileURLToPath(new URL("model", DEMO)));
  const golden = JSON.parse(textOf("golden.json"));
  const domain = homeDomain();
  const { tools } = domain;
  const tasks = new Map(domain.tasks("test").map((task) => [task.id, task]));
  const render = (messages) =>
    tokenizer.encode(tokenizer.applyChatTemplate(messages, { tools, addGenerationPrompt: true }));

  const attempts = await Promise.all(
    golden.tasks.map(({ id, turns }) => {
      const answers = turns.values();
      const generate = async ({ messages }) => {
        const { tokens } = answers.next().value;
        const text = tokenizer.decode(tokens, { skipSpecialTokens: true });
        return {
          text,
          tokens,
          toolCalls: parseToolCalls(text),
          usage: { promptTokens: render(messages).length },
        };
      };
      return runEpisode({ generate }, domain, tasks.get(id));
    }),
  );

  const promptOf = ({ messages }, { messageCount }) => render(messages.slice(0, messageCount));
  expect(compareWithGolden(golden, attempts, promptOf)).toEqual({
    tokens: 6338,
    tokensAgree: 6338,
    prompts: 287,
    promptsAgree: 287,
    differences: [],
  });
  expect(attempts.filter(({ success }) => success)).toHaveLength(64);
});
