/** Each example as a newcomer runs it: a process of its own, on the demo's checkpoint, judged by what it prints. */
import { execFile, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Engine } from "lockstep";
import { expect, it, vi } from "vitest";

vi.setConfig({ testTimeout: 60_000 });

const FOLDER = fileURLToPath(new URL("../../examples/", import.meta.url));
const MODEL = `${FOLDER}demo/model`;

/** Rejects where the exit code is not 0. */
async function linesOf(example, ...args) {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [`${FOLDER}${example}`, ...args]);
  expect(stderr).toBe("");
  return stdout.trimEnd().split("\n");
}

const CALL = '{"name": "set_light", "arguments": {"room": "bedroom", "state": "off"}}';

const EXAMPLES = {
  "generate.mjs"(lines) {
    expect(lines).toContain(CALL);
    expect(lines.at(-2)).toBe(`tool calls: [${JSON.stringify(JSON.parse(CALL))}]`);
    expect(lines.at(-1)).toMatch(/^\d+ tokens in, \d+ out, ended by stop$/);
  },
  "stream.mjs"(lines) {
    expect(lines[0]).toBe("<tool_call>");
    const [, tokens, chunks] = lines.at(-1).match(/^(\d+) tokens in (\d+) chunks \(stop\)$/);
    expect(Number(chunks)).toBeGreaterThan(1); // as it is made, not at the end
    expect(Number(chunks)).toBeLessThanOrEqual(Number(tokens));
  },
  "score.mjs"(lines) {
    const [off, on] = lines
      .filter((_, i) => i % 2 === 0)
      .map((line) => Number(line.match(/logprob (-\d+\.\d+), perplexity 1\.\d+$/)[1]));
    expect(off).toBeGreaterThan(on);
    expect(lines[3]).toBe('  least likely: "on", most likely there: "off"');
  },
  "perplexity.mjs"(lines) {
    const perplexities = lines
      .slice(0, 3)
      .map((line) => Number(line.match(/^\d+ tokens in windows of \d+: perplexity (\d+\.\d+)$/)[1]));
    // More context, fewer surprises; and the last window is the whole text.
    expect(perplexities).toEqual(perplexities.toSorted((a, b) => b - a));
    expect(perplexities.at(-1)).toBeGreaterThan(1);
    expect(lines[3]).toMatch(/^-\d\.\d+ in all, -0\.\d+ a token: ".*bedroom.*off/);
    expect(lines).toHaveLength(3 + 4);
  },
  "samples.mjs"(lines) {
    expect(lines).toHaveLength(4 * 4 + 1);
    const sums = (kind) =>
      lines.filter((line) => line.startsWith(`  ${kind} `)).map((line) => line.split(/ +/)[2]);
    for (const kind of ["logprobs", "temperatureLogprobs", "samplingLogprobs"]) {
      expect(sums(kind)).toHaveLength(4);
      for (const sum of sums(kind)) expect(Number(sum)).toBeLessThanOrEqual(0);
    }
    const texts = lines.filter((line) => line.startsWith("sample ")).slice(0, 4);
    expect(new Set(texts.map((line) => line.slice("sample 0".length))).size).toBeGreaterThan(1);
    expect(lines.at(-1)).toBe("sample 2 alone: the same bits");
  },
  "own-eval.mjs"(lines) {
    const attempts = lines.slice(0, -2).map((line) => line.split(/ +/).slice(1));
    expect(attempts.map((row) => row.length)).toEqual(Array(12).fill(4));
    const share = (solved) => (attempts.filter(solved).length / 12).toFixed(3);
    expect(lines.at(-2)).toMatch(`pass@4 ${share((row) => row.includes("yes"))}, 95 % interval `);
    expect(lines.at(-1)).toMatch(`pass^4 ${share((row) => !row.includes("no"))}, 95 % interval `);
    expect(Number(share((row) => row.includes("yes")))).toBeGreaterThan(0.8);
  },
  async "search.mjs"(lines) {
    expect(lines[0]).toBe("Why do my eyes water when I chop vegetables? (9 passages)");
    const hits = lines.slice(1).map((line) => /^(-?\d\.\d{3}) {2}(\w+\.txt): (.+)$/.exec(line).slice(1));
    expect(hits).toHaveLength(3);
    const engine = await Engine.load(MODEL);
    const instruct = "Given a question, retrieve passages that answer it";
    const query = await engine.embed("Why do my eyes water when I chop vegetables?", { instruct });
    for (const [score, file, text] of hits) {
      expect(readFileSync(`${FOLDER}texts/${file}`, "utf8").replace(/\s+/g, " ")).toContain(text);
      const vector = await engine.embed(text);
      expect(Number(score)).toBeCloseTo(
        vector.reduce((sum, value, i) => sum + value * query[i], 0),
        3,
      );
    }
    await engine.close();
    const scores = hits.map(([score]) => Number(score));
    expect(scores).toEqual(scores.toSorted((a, b) => b - a));
  },
  "two-engines.mjs"(lines) {
    expect(lines).toHaveLength(4);
    expect(lines[0]).toBe(
      `Please switch off the bedroom light. → ${JSON.stringify(`<tool_call>\n${CALL}\n</tool_call>`)}`,
    );
    for (const line of [lines[1], lines[3]])
      expect(line).toMatch(/^ {2}the judge's logprob: -\d+\.\d{3}; the writer's own bits: yes$/);
  },
};

it.each(Object.entries(EXAMPLES))("%s", async (example, check) => {
  await check(await linesOf(example));
});

it("has a test, and a line in the README, for every example", () => {
  const examples = readdirSync(FOLDER).filter((name) => name.endsWith(".mjs"));
  expect(Object.keys(EXAMPLES).sort()).toEqual(examples.sort());
  const readme = readFileSync(`${FOLDER}README.md`, "utf8");
  for (const example of examples) expect(readme).toContain(`[${example}](${example})`);
});

it("takes the directory of another model", async () => {
  expect(await linesOf("generate.mjs", MODEL)).toEqual(await linesOf("generate.mjs"));
  await expect(linesOf("generate.mjs", `${MODEL}-that-is-not-there`)).rejects.toThrow("MODEL_NOT_FOUND");
});

it("stream.mjs ends early, and well, on Ctrl-C", async () => {
  const child = spawn(process.execPath, [`${FOLDER}stream.mjs`]);
  let output = "";
  child.stdout.on("data", (piece) => {
    if (output === "") child.kill("SIGINT");
    output += piece;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect(code).toBe(0);
  expect(output).toMatch(/\n\d+ tokens in \d+ chunks \((abort|stop)\)\n$/);
});
