/** `lockstep chat` over pipes: the conversation, its commands, and what must not end it. */
import { Engine, Tokenizer } from "lockstep";
import { expect, it, vi } from "vitest";
import type { ChatMessage, Generation } from "../../src/index.js";
import { MODEL, runCli } from "./run-cli.js";

vi.setConfig({ testTimeout: 60_000 });

const SHORT = ["--max-tokens", "12"];

async function answers(args: string[], ...lines: string[]) {
  const { code, stdout, stderr } = await runCli(["chat", MODEL, "--json", ...args], {
    input: `${lines.join("\n")}\n`,
  });
  expect(code).toBe(0);
  const generations = stdout.split("\n").filter((line) => line !== "");
  return { generations: generations.map((line) => JSON.parse(line) as Generation), stderr };
}

/** What the public API answers to the same messages. */
async function expected(lines: string[], system?: string): Promise<string[]> {
  const messages: ChatMessage[] = system === undefined ? [] : [{ role: "system", content: system }];
  const engine = await Engine.load(MODEL);
  try {
    for (const content of lines) {
      messages.push({ role: "user", content });
      const { text } = await engine.generate({ messages }, { maxTokens: 12 });
      messages.push({ role: "assistant", content: text });
    }
  } finally {
    await engine.close();
  }
  return messages.filter(({ role }) => role === "assistant").map(({ content }) => content as string);
}

it("answers each line with the conversation so far in view", async () => {
  const lines = ["Please switch off the bedroom light.", "And the kitchen?", "Thank you."];
  const { generations } = await answers(SHORT, ...lines);
  expect(generations.map(({ text }) => text)).toEqual(await expected(lines));
});

it("begins with the system message, and after /reset begins again", async () => {
  const lines = ["Is it warm?", "How warm?"];
  const system = "You are a smart home.";
  const { generations } = await answers(
    [...SHORT, "--system", system],
    ...lines,
    "/reset",
    lines[0]!,
    lines[1]!,
  );
  const texts = await expected(lines, system);
  expect(generations.map(({ text }) => text)).toEqual([...texts, ...texts]);
  expect(generations[2]!.usage.promptTokens).toBe(generations[0]!.usage.promptTokens);
});

it("writes each answer as text that ends in a newline, and nothing else, to stdout", async () => {
  const lines = ["Is it warm?", "How warm?"];
  const { code, stdout } = await runCli(["chat", MODEL, ...SHORT], { input: lines.join("\n") });
  const texts = await expected(lines);
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: texts.map((text) => (text.endsWith("\n") ? text : `${text}\n`)).join(""),
  });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what is looked for
  expect(stdout).not.toMatch(/[\u001b\r]/);
});

it("ends at /exit and reads no further", async () => {
  const { generations, stderr } = await answers(SHORT, "Hello", "/exit", "Hello again");
  expect(generations).toHaveLength(1);
  expect(stderr).toBe("(cut at --max-tokens)\n");
});

it("passes over empty lines and refuses commands it does not know, without asking the model", async () => {
  const { generations, stderr } = await answers(SHORT, "", "  ", "/restart");
  expect(generations).toEqual([]);
  expect(stderr).toMatch(/^No command \/restart\. .*\/reset/);
});

it("goes on after a message that cannot fit, as if it had not been sent", async () => {
  const { generations, stderr } = await answers(SHORT, "Hello", "lamp ".repeat(5000), "And the kitchen?");
  expect(stderr).toMatch(/^error: [^\n]* \(PROMPT_TOO_LONG\)\n.*\/reset/m);
  expect(generations.map(({ text }) => text)).toEqual(await expected(["Hello", "And the kitchen?"]));
});

it("says when the context is full, refuses to go on in it, and starts anew after /reset", async () => {
  const long = "lamp ".repeat(await lampsThatFit(2000));
  const { generations, stderr } = await answers(["--ignore-eos"], long, "lamp ".repeat(100), "/reset", long);
  expect(generations).toHaveLength(2);
  expect(generations[0]).toMatchObject({ finishReason: "length" });
  expect(generations[1]!.text).toBe(generations[0]!.text);
  const full = "The context of 2048 tokens is full; /reset starts a new conversation.";
  expect(stderr.split("\n")).toEqual([
    full,
    expect.stringMatching(/^error: .*\(PROMPT_TOO_LONG\)$/),
    "The conversation no longer fits the context; /reset starts a new one.",
    full,
    "",
  ]);
});

/** How often "lamp " fits into so many tokens. */
async function lampsThatFit(tokens: number): Promise<number> {
  const tokenizer = await Tokenizer.fromDirectory(MODEL);
  const perLamp = tokenizer.encode("lamp ".repeat(100)).length / 100;
  return Math.floor((tokens - 20) / perLamp); // 20: the template's own
}

it("refuses wrong options with exit code 2, before the conversation", async () => {
  const { code, stdout, stderr } = await runCli(["chat", MODEL, "--temperature", "9"], { input: "Hello\n" });
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(/^error: Expected a number in \[0, 2\] for temperature[^\n]*\n$/);
});

it("ends quietly when the reader of its output goes away", async () => {
  const { code, stderr } = await runCli(["chat", MODEL, "--ignore-eos"], {
    input: "Hello\nHello\n",
    onOutput: (child) => child.stdout?.destroy(),
  });
  expect(code).toBe(141);
  expect(stderr).not.toMatch(/error/);
});
