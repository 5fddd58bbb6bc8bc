/** `lockstep generate` from outside: output, exit codes, refusals. */
import { expect, it, vi } from "vitest";
import type { Generation } from "../../src/index.js";
import { MODEL, runCli } from "./run-cli.js";

vi.setConfig({ testTimeout: 60_000 });

const REQUEST = "Please switch off the bedroom light.";
const SHORT = ["--max-tokens", "8"];

async function generation(args: string[], input?: string | Uint8Array): Promise<Generation> {
  const { code, stdout, stderr } = await runCli(["generate", MODEL, "--json", ...args], { input });
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expect(stdout.endsWith("}\n")).toBe(true);
  return JSON.parse(stdout) as Generation;
}

it("writes the whole Generation as one JSON object", async () => {
  const result = await generation([REQUEST, ...SHORT, "--logprobs"]);
  expect(result.tokens).toHaveLength(8);
  expect(result.finishReason).toBe("length");
  expect(result.logprobs).toHaveLength(8);
  expect(result.temperatureLogprobs).toHaveLength(8);
  expect(result.usage.completionTokens).toBe(8);
  expect(Number.isInteger(result.seed)).toBe(true);
});

it("streams the same text that --json reports, and nothing else", async () => {
  const { text } = await generation([REQUEST, "--chat", "--max-tokens", "40"]);
  const { code, stdout, stderr } = await runCli(["generate", MODEL, REQUEST, "--chat", "--max-tokens", "40"]);
  expect(text).not.toBe("");
  expect({ code, stdout, stderr }).toEqual({
    code: 0,
    stdout: text.endsWith("\n") ? text : `${text}\n`,
    stderr: "",
  });
});

it("takes the prompt from the argument, --prompt or standard input alike", async () => {
  const { seed: _, ...expected } = await generation([REQUEST, ...SHORT]);
  for (const [args, input] of [
    [["--prompt", REQUEST], undefined],
    [["-"], REQUEST],
    [["-"], `${REQUEST}\n`],
    [["--prompt", "-"], `${REQUEST}\n`],
  ] as const)
    expect(await generation([...args, ...SHORT], input)).toMatchObject(expected);
});

it("drops one newline of standard input and no more", async () => {
  const { usage } = await generation([`${REQUEST}\n`, ...SHORT]);
  expect((await generation(["-", ...SHORT], `${REQUEST}\n\n`)).usage).toEqual(usage);
});

it("continues the prompt as it stands, and uses the chat template when asked to", async () => {
  const raw = await generation([REQUEST, ...SHORT]);
  const chat = await generation([REQUEST, ...SHORT, "--chat"]);
  const system = await generation([REQUEST, ...SHORT, "--system", "You are a smart home."]);
  expect(chat.usage.promptTokens).toBeGreaterThan(raw.usage.promptTokens);
  expect(system.usage.promptTokens).toBeGreaterThan(chat.usage.promptTokens);
});

it("passes the sampling options on", async () => {
  const options = [...SHORT, "--temperature", "1.5", "--top-k", "50", "--top-p", "0.9", "--seed", "7"];
  const first = await generation([REQUEST, ...options]);
  expect(first.seed).toBe(7);
  expect(await generation([REQUEST, ...options, "--threads", "1"])).toEqual(first);
  expect((await generation([REQUEST, ...options.with(-1, "8")])).tokens).not.toEqual(first.tokens);
});

it("ends at any of several stop texts", async () => {
  const { text } = await generation([REQUEST, "--chat", "--max-tokens", "40"]);
  const stop = text.slice(5, 7);
  const stopped = await generation([
    REQUEST,
    "--chat",
    "--max-tokens",
    "40",
    "--stop",
    "\u2603",
    "--stop",
    stop,
  ]);
  expect(stopped).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finishReason: "stop", stop });
});

it("writes no terminal codes to pipes", async () => {
  const { stdout, stderr } = await runCli(["generate", MODEL, REQUEST, ...SHORT]);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what is looked for
  expect(stdout + stderr).not.toMatch(/[\u001b\r]/);
});

it("ends quietly when the reader of its output goes away", async () => {
  const args = ["generate", MODEL, REQUEST, "--ignore-eos", "--max-tokens", "2000"];
  const { code, stderr } = await runCli(args, { onOutput: (child) => child.stdout?.destroy() });
  expect({ code, stderr }).toEqual({ code: 141, stderr: "" });
});

const USAGE: [string, string[], RegExp][] = [
  ["an unknown option", [MODEL, "x", "--max-token", "3"], /unknown option '--max-token'[\s\S]*--max-tokens/],
  ["a missing model", [], /missing required argument 'model'/],
  ["no prompt", [MODEL], /no prompt/],
  ["two prompts", [MODEL, "x", "--prompt", "y"], /given twice/],
  ["a surplus argument", [MODEL, "x", "y"], /too many arguments/],
  ["a number that is none", [MODEL, "x", "--temperature", "warm"], /'warm' is invalid\. Expected a number/],
  ["an empty number", [MODEL, "x", "--top-p", ""], /Expected a number/],
  ["half a token", [MODEL, "x", "--max-tokens", "1.5"], /'1\.5' is invalid\. Expected an integer/],
  ["a temperature out of range", [MODEL, "x", "--temperature", "-1"], /\[0, 2\] for temperature/],
  ["no tokens at all", [MODEL, "x", "--max-tokens", "0"], /for maxTokens/],
  ["an empty stop text", [MODEL, "x", "--stop", ""], /not empty/],
  ["an empty prompt", [MODEL, ""], /non-empty text/],
];

it.each(USAGE)("refuses %s with exit code 2", async (_, args, expected) => {
  const { code, stdout, stderr } = await runCli(["generate", ...args]);
  expect(stderr).toMatch(expected);
  expect(stderr).toMatch(/^error: /);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
});

it("reports a model that is not there in one line, with its code", async () => {
  const { code, stdout, stderr } = await runCli(["generate", `${MODEL}-that-is-not-there`, "x"]);
  expect(stderr).toMatch(/^error: [^\n]*-that-is-not-there[^\n]* \(MODEL_NOT_FOUND\)\n$/);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
});

it("reports a prompt that cannot fit in one line, with its code", async () => {
  const { code, stderr } = await runCli(["generate", MODEL, "-"], { input: "lamp ".repeat(5000) });
  expect(stderr).toMatch(/^error: [^\n]* \(PROMPT_TOO_LONG\)\n$/);
  expect(code).toBe(1);
});

it("refuses standard input that is not UTF-8", async () => {
  const { code, stderr } = await runCli(["generate", MODEL, "-"], { input: Uint8Array.of(0x68, 0xff) });
  expect({ code, stderr }).toEqual({ code: 1, stderr: "error: Expected UTF-8 on standard input\n" });
});
