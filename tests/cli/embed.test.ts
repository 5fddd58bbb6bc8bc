/** `lockstep embed` from outside: lines of JSON, what people read, where texts come from, refusals. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EmbedOptions, Engine } from "lockstep";
import { expect, it, vi } from "vitest";
import { MODEL, runCli } from "./run-cli.js";

vi.setConfig({ testTimeout: 60_000 });

const TEXTS = ["Please switch off the bedroom light.", "lamp", "Lock the front door"];

async function run(args: string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await runCli(["embed", MODEL, ...args], { input });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}

async function linesOf(texts: string[], options: EmbedOptions): Promise<string> {
  const engine = await Engine.load(MODEL);
  const vectors = await engine.embed(texts, options);
  await engine.close();
  const lines = vectors.map((vector, index) => ({
    index,
    text: texts[index],
    embedding: Array.from(vector),
  }));
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

it("writes a JSON object for each text, from arguments, a file or standard input", async () => {
  const expected = await linesOf(TEXTS, {});
  expect(await run([...TEXTS, "--json"])).toBe(expected);
  expect(await run(["-", "--json"], `${TEXTS.join("\r\n")}\n`)).toBe(expected);
  const folder = mkdtempSync(join(tmpdir(), "lockstep-embed-"));
  const file = join(folder, "texts");
  writeFileSync(file, TEXTS.join("\n"));
  expect(await run(["--file", file, "--json"])).toBe(expected);
  rmSync(folder, { recursive: true });
});

it("passes the options on", async () => {
  const args = [
    "--pooling",
    "mean",
    "--dimensions",
    "7",
    "--instruct",
    "Find rooms",
    "--no-normalize",
    "--json",
  ];
  const options = { pooling: "mean", dimensions: 7, instruct: "Find rooms", normalize: false } as const;
  expect(await run(["lamp", ...args])).toBe(await linesOf(["lamp"], options));
});

it("writes a glimpse of each vector and the cosines for people", async () => {
  const lines = (await run(TEXTS)).trimEnd().split("\n");
  TEXTS.forEach((text, i) => {
    expect(lines[i]).toMatch(/^( [ -]\d\.\d{4}){4} … \(192\) {2}"/);
    expect(lines[i]!.endsWith(JSON.stringify(text))).toBe(true);
  });
  expect(lines[3]).toBe("cosines");
  const cosines = lines.slice(4).map((line) => line.trim().split(/ +/).map(Number));
  for (let i = 0; i < 3; ++i)
    for (let j = 0; j < 3; ++j) {
      expect(cosines[i]![j]).toBe(cosines[j]![i]);
      if (i === j) expect(cosines[i]![j]).toBe(1);
      else expect(Math.abs(cosines[i]![j]!)).toBeLessThan(1);
    }
  expect(await run(["lamp"])).toMatch(/^[^\n]*"lamp"\n$/); // nothing to compare it with
});

it("keeps the order of more texts than are under way at once", async () => {
  const texts = Array.from({ length: 300 }, (_, i) => `lamp ${i}`);
  const lines = (await run(["-", "--json", "--dimensions", "2"], texts.join("\n"))).trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line).text)).toEqual(texts);
});

it("writes what is done before the text that fails, and names that", async () => {
  const { code, stdout, stderr } = await runCli(["embed", MODEL, "-", "--json"], { input: "lamp\n\nlamp\n" });
  expect(code).toBe(2);
  expect(stdout.trimEnd().split("\n")).toHaveLength(1);
  expect(stderr).toMatch(/^error: text 2: Expected a non-empty text for prompt .*\(INVALID_ARGUMENT\)\n$/);
});

it.each([
  ["no text", [], 2, /no text: give some as arguments/],
  ["texts given twice", ["lamp", "--file", "texts"], 2, /given twice/],
  ["a file that is not there", ["--file", "/nowhere"], 1, /\/nowhere.*\(ENOENT\)/],
  ["an unknown pooling", ["lamp", "--pooling", "max"], 2, /Allowed choices are last, mean, cls/],
  [
    "too many dimensions",
    ["lamp", "--dimensions", "193"],
    2,
    /^error: Expected an integer in \[1, 192\] for dimensions/,
  ],
  ["a text that cannot fit", ["lamp ".repeat(5000)], 1, /\(PROMPT_TOO_LONG\)\n$/],
])("refuses %s", async (_, args, exitCode, expected) => {
  const { code, stdout, stderr } = await runCli(["embed", MODEL, ...args]);
  expect({ code, stdout }).toEqual({ code: exitCode, stdout: "" });
  expect(stderr).toMatch(expected);
});
