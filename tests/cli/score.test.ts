/** `lockstep score` from outside: totals, tables, JSON, refusals. */
import { expect, it, vi } from "vitest";
import type { Score } from "../../src/index.js";
import { MODEL, runCli } from "./run-cli.js";

vi.setConfig({ testTimeout: 60_000 });

const TEXT = "Please switch off the bedroom light.";

async function run(args: string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await runCli(["score", MODEL, ...args], { input });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}

const scoreOf = async (...args: string[]) => JSON.parse(await run([TEXT, "--json", ...args])) as Score;
const sum = (logprobs: (number | null)[]) => logprobs.reduce<number>((total, one) => total + (one ?? 0), 0);

it("writes the whole Score as one JSON object", async () => {
  const score = await scoreOf();
  expect(score.from).toBe(0);
  expect(score.logprobs).toHaveLength(score.tokens.length);
  expect(score.logprobs[0]).toBeNull();
  expect(score.topLogprobs).toBeUndefined();
});

it("scores from a position on, with the likeliest tokens, to the same bits", async () => {
  const score = await scoreOf("--from", "3", "--top-logprobs", "2");
  expect(score.logprobs).toEqual((await scoreOf()).logprobs.slice(3));
  expect(score.topLogprobs).toHaveLength(score.logprobs.length);
  for (const row of score.topLogprobs!) expect(row).toHaveLength(2);
});

it("writes logprob, tokens and perplexity for people", async () => {
  const { logprobs } = await scoreOf();
  const total = sum(logprobs);
  expect(await run([TEXT])).toBe(
    [
      `logprob     ${total}`,
      `tokens      ${logprobs.length} (${logprobs.length - 1} scored)`,
      `perplexity  ${Math.exp(-total / (logprobs.length - 1))}\n`,
    ].join("\n"),
  );
});

it("writes a line per token with --top-logprobs", async () => {
  const { logprobs, topLogprobs } = await scoreOf("--top-logprobs", "1");
  const lines = (await run([TEXT, "--top-logprobs", "1"])).split("\n");
  expect(lines[0]).toMatch(/^ +- {2}"Please"$/);
  for (let i = 1; i < logprobs.length; ++i) {
    const [logprob, token, , top] = lines[i]!.trim().split(/ +(?=["-])/);
    expect(logprob).toBe(logprobs[i]!.toFixed(4));
    expect(token).toMatch(/^"/);
    expect(top ?? lines[i]).toContain(topLogprobs![i]![0]!.logprob.toFixed(4));
  }
  expect(lines[logprobs.length]).toBe("");
  expect(lines[logprobs.length + 1]).toMatch(/^logprob /);
});

it("reads standard input, less one newline", async () => {
  expect(await run(["-"], `${TEXT}\n`)).toBe(await run([TEXT]));
});

it("says that a single token has nothing to be scored against", async () => {
  expect(await run(["P"])).toBe(
    "logprob     0\ntokens      1 (0 scored)\nperplexity  none: no token was scored\n",
  );
});

it.each([
  ["no text", [], 2, /missing required argument 'text'/],
  ["an empty text", [""], 2, /non-empty text/],
  ["a start beyond the text", [TEXT, "--from", "1000"], 2, /for from/],
  ["a number that is none", [TEXT, "--top-logprobs", "many"], 2, /Expected an integer/],
  ["a text that cannot fit", ["lamp ".repeat(5000)], 1, /\(PROMPT_TOO_LONG\)\n$/],
])("refuses %s", async (_, args, exitCode, expected) => {
  const { code, stdout, stderr } = await runCli(["score", MODEL, ...args]);
  expect({ code, stdout }).toEqual({ code: exitCode, stdout: "" });
  expect(stderr).toMatch(expected);
});
