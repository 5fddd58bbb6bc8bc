/** `lockstep rollout` from outside: what it writes, that it can be ended anywhere and gone on with, refusals. */
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine, type RolloutSample, type SlimeSample, toSlimeSample } from "lockstep";
import { afterAll, expect, it, vi } from "vitest";
import { MODEL, runCli } from "./run-cli.js";

vi.setConfig({ testTimeout: 60_000 });

const directory = mkdtempSync(join(tmpdir(), "lockstep-rollout-"));
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
function file(content: string, extension = "jsonl"): string {
  const path = join(directory, `${++files}.${extension}`);
  writeFileSync(path, content);
  return path;
}
const newFile = () => join(directory, `${++files}.jsonl`);

const REQUESTS = [
  { messages: [{ role: "user", content: "Set the garage to 25 degrees" }], metadata: { label: "a" } },
  { messages: [{ role: "user", content: "Please switch off the bedroom light." }], n: 3 },
  { tokens: [46, 77, 283], sampling: { temperature: 1.5, seed: 11 } },
];
const PROMPTS = file(REQUESTS.map((request) => JSON.stringify(request)).join("\n"));

/** In the order of their keys, without what depends on who ran beside them. */
function samplesOf(path: string): SlimeSample[] {
  const lines = readFileSync(path, "utf8").split("\n");
  expect(lines.pop()).toBe(""); // each line is whole
  const samples = lines.map((line) => JSON.parse(line) as SlimeSample);
  for (const { metadata } of samples) delete metadata.lockstep.usage;
  return samples.sort((a, b) => a.index - b.index);
}

const rollout = (prompts: string, out: string, args: string[], options = {}) =>
  runCli(["rollout", MODEL, "--prompts", prompts, "--out", out, ...args], options);

it("writes the samples of engine.rollouts() as slime reads them, with rewards, turns and totals", async () => {
  const callbacks = file(
    `export default (sample, { text }) => text.length + 100 * sample.groupIndex;
     export const turn = (sample) => sample.turns < 2 ? { messages: [{ role: "tool", content: "done" }] } : undefined;`,
    "mjs",
  );
  const out = newFile();
  const args = ["--samples", "2", "--seed", "7", "--max-response-tokens", "60", "--reward", callbacks];
  const { code, stdout, stderr } = await rollout(PROMPTS, out, [
    ...args,
    "--json",
    "--top-p",
    "0.95",
    "--kept-token-ids",
  ]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });

  const written = samplesOf(out);
  const { default: reward, turn } = (await import(callbacks)) as never;
  await using engine = await Engine.load(MODEL);
  const requests = REQUESTS.map(({ n, metadata, sampling, ...prompt }) => ({
    prompt,
    n,
    metadata,
    sampling,
  }));
  const run = engine.rollouts(requests as never, {
    ...{ n: 2, seed: 7, maxResponseTokens: 60, sampling: { topP: 0.95, keptTokenIds: true }, reward, turn },
  });
  const expected: SlimeSample[] = [];
  for await (const sample of run) {
    const { usage: _, ...rest } = sample;
    expected.push(JSON.parse(JSON.stringify(toSlimeSample(rest as RolloutSample))) as SlimeSample);
  }
  expect(written).toEqual(expected.sort((a, b) => a.index - b.index));
  expect(written.map(({ group_index }) => group_index)).toEqual([0, 0, 1, 1, 1, 2, 2]);
  for (const { loss_mask, rollout_top_p_token_offsets: offsets } of written)
    expect(offsets?.slice(1).map((end, i) => (end > offsets[i]! ? 1 : 0))).toEqual(loss_mask); // none on observations

  const rewards = written.map(({ reward }) => reward!);
  expect(JSON.parse(stdout)).toEqual({
    ...{ out, seed: 7, earlier: 0, failed: 0, missing: 0 },
    completed: written.filter(({ status }) => status === "completed").length,
    truncated: written.filter(({ status }) => status === "truncated").length,
    generatedTokens: written.flatMap(({ loss_mask }) => loss_mask).reduce((sum, mask) => sum + mask, 0),
    meanReward: expect.closeTo(rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length, 9),
  });
});

/** Calls `hit` once `path` has `bytes`. */
function onceGrown(path: string, bytes: number, hit: () => void): void {
  const timer = setInterval(() => {
    if (!existsSync(path) || statSync(path).size < bytes) return;
    clearInterval(timer);
    hit();
  }, 5);
}

it("goes on where Ctrl-C or a kill ended it, with the samples it would have made", async () => {
  // One group after the other comes to its end.
  const lengths = [10, 80, 150, 220, 290];
  const requests = lengths.map((maxTokens) => JSON.stringify({ prompt: "Set", sampling: { maxTokens } }));
  const prompts = file(requests.join("\n"));
  const args = ["--samples", "8", "--seed", "3", "--ignore-eos", "--temperature", "1"];
  const whole = newFile();
  expect((await rollout(prompts, whole, args)).code).toBe(0);

  const out = newFile();
  const endWith = (signal: NodeJS.Signals) => ({
    onStart: (child: ChildProcess) =>
      onceGrown(out, (existsSync(out) ? statSync(out).size : 0) + 1, () => child.kill(signal)),
  });
  const interrupted = await rollout(prompts, out, [...args, "--json"], endWith("SIGINT"));
  expect({ code: interrupted.code, stderr: interrupted.stderr }).toEqual({ code: 130, stderr: "" });
  const totals = JSON.parse(interrupted.stdout) as Record<string, number>;
  expect(totals.missing).toBeGreaterThan(0);
  expect(samplesOf(out)).toHaveLength(40 - totals.missing!);
  expect((await rollout(prompts, out, args, endWith("SIGKILL"))).code).toBe(null);
  const last = await rollout(prompts, out, args);
  expect(last).toMatchObject({
    code: 0,
    stderr: "",
    stdout: expect.stringContaining("; 0 still to be made"),
  });
  expect(samplesOf(out)).toEqual(samplesOf(whole));

  const again = await rollout(prompts, out, [...args, "--json"]);
  expect(again.code).toBe(0);
  expect(JSON.parse(again.stdout)).toMatchObject({
    earlier: 40,
    completed: 0,
    truncated: 0,
    generatedTokens: 0,
  });
});

it("writes a sample whose reward throws as failed, and says so", async () => {
  const reward = file(
    `export default ({ sampleIndex }) => { if (sampleIndex === 1) throw new Error("no verdict"); return 1; }`,
    "mjs",
  );
  const out = newFile();
  const args = ["--samples", "3", "--max-tokens", "4", "--reward", reward];
  const { code, stdout } = await rollout(PROMPTS, out, args);
  expect({ code, stdout }).toEqual({ code: 1, stdout: expect.stringMatching(/3 failed\n.*no verdict/) });
  for (const { status, metadata, reward } of samplesOf(out))
    if (metadata.lockstep.sampleIndex === 1)
      expect([status, metadata.lockstep.error]).toEqual([
        "failed",
        { code: "CALLBACK_FAILED", message: expect.stringContaining("no verdict") },
      ]);
    else expect([status, reward]).toEqual(["truncated", 1]);
  expect((await rollout(PROMPTS, out, args)).code).toBe(0); // all are there
});

it("refuses other settings than a file was begun with", async () => {
  const out = newFile();
  expect((await rollout(PROMPTS, out, ["--max-tokens", "2"])).code).toBe(0);
  const before = readFileSync(out, "utf8");
  const { code, stderr } = await rollout(PROMPTS, out, ["--max-tokens", "3", "--seed", "1"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/these differ: seed \(\d+ then, 1 now\), maxTokens \(2 then, 3 now\)\./);
  const other = await rollout(file('{"prompt": "a"}'), out, ["--max-tokens", "2"]);
  expect(other.stderr).toMatch(/these differ: prompts \(/);
  expect(readFileSync(out, "utf8")).toBe(before);
});

const USAGE: [string, string[], RegExp][] = [
  ["no prompts", ["--out", newFile()], /required option '--prompts <file>'/],
  ["no place to write", ["--prompts", PROMPTS], /required option '--out <file>'/],
  [
    "a line that is no JSON",
    ["--prompts", file('{"prompt": "a"}\n{'), "--out", newFile()],
    /^error: \S+\.jsonl:2: /,
  ],
  [
    "a prompt that the engine refuses, by its line",
    ["--prompts", file('{"prompt": "a"}\n\n{"prompt": ""}'), "--out", newFile()],
    /^error: \S+\.jsonl:3: Expected a non-empty text/,
  ],
  [
    "sampling that the engine refuses",
    ["--prompts", PROMPTS, "--out", newFile(), "--temperature", "9"],
    /\[0, 2\] for temperature/,
  ],
  ["half a sample", ["--prompts", PROMPTS, "--out", newFile(), "--samples", "0.5"], /Expected an integer/],
  [
    "the prompts' file to write to",
    ["--prompts", PROMPTS, "--out", PROMPTS],
    /new or the output of an earlier run/,
  ],
  [
    "a module without rewards",
    ["--prompts", PROMPTS, "--out", newFile(), "--reward", file("export const rewards = 1;", "mjs")],
    /must export a function/,
  ],
  [
    "a reward that is no function",
    ["--prompts", PROMPTS, "--out", newFile(), "--reward", file("export default 1;", "mjs")],
    /must export a function/,
  ],
];

it.each(USAGE)("refuses %s with exit code 2", async (_, args, expected) => {
  const { code, stdout, stderr } = await runCli(["rollout", MODEL, ...args]);
  expect(stderr).toMatch(expected);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
});

it("reports files that cannot be read or written, with exit code 1", async () => {
  const nowhere = join(directory, "nowhere", "a.jsonl");
  expect(await rollout(PROMPTS, nowhere, [])).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^error: Cannot write .*ENOENT.* \(FILE_ERROR\)\n$/),
  });
  expect(await rollout(nowhere, newFile(), [])).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/ENOENT/),
  });
});
