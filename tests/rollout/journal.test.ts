/**
 * The file of `lockstep rollout`: nothing lost, nothing there twice, whatever ends the process that writes it. The child is
 * a real one, killed at random moments; the cuts at every byte are made by hand, since a kill seldom hits a write.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";
import { Journal } from "../../src/rollout/journal.js";
import type { SlimeSample } from "../../src/rollout/slime-sample.js";
// @ts-expect-error: plain JavaScript, for the child too
import { slimeSample } from "./children/slime-samples.mjs";

const WRITER = fileURLToPath(new URL("children/journal-writer.mjs", import.meta.url));

function newFile(): string {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-journal-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return join(directory, "samples.jsonl");
}

const linesOf = (path: string) => readFileSync(path, "utf8").split("\n").slice(0, -1);
const samplesOf = (path: string) => linesOf(path).map((line) => JSON.parse(line) as SlimeSample);
const keysOf = (path: string) =>
  samplesOf(path).map(({ group_index, metadata }) => [group_index, metadata.lockstep.sampleIndex]);
const sample = (group: number, k: number, seed = 7) => slimeSample(group, k, seed) as SlimeSample;

/** A file with samples 1.0 and 1.1. */
async function twoSamples(settings = {}): Promise<string> {
  const path = newFile();
  const journal = await Journal.open(path, settings, { seed: 7 });
  await journal.append(sample(1, 0));
  await journal.append(sample(1, 1));
  await journal.close();
  return path;
}

interface Outcome {
  code: number | null;
  output: string;
  stderr: string;
}

/** Runs the writer, or `command` with it; `onStart` once it has opened the file. */
function write(
  path: string,
  groups: number,
  onStart?: (kill: () => void) => void,
  command = "exec",
): Promise<Outcome> {
  return new Promise((resolve) => {
    const seed = Math.floor(Math.random() * 1000);
    const child = spawn("bash", [
      ...["-c", `${command} "$@"`, "bash"],
      ...[process.execPath, WRITER, path, String(groups), String(seed)],
    ]);
    const outcome = { code: null, output: "", stderr: "" } as Outcome;
    child.stdout.on("data", (piece) => {
      outcome.output += piece;
      onStart?.(() => child.kill("SIGKILL"));
    });
    child.stderr.on("data", (piece) => {
      outcome.stderr += piece;
    });
    child.on("close", (code) => resolve({ ...outcome, code }));
  });
}

it("loses and doubles nothing when its process is killed again and again", async () => {
  const path = newFile();
  const groups = 120;
  let killed = 0;
  let grown = 0; // kills between which lines were written
  for (let kill = 0, size = 0; kill < 10 || (grown < 2 && kill < 60); ++kill) {
    const { code } = await write(path, groups, (end) => setTimeout(end, Math.random() * 100));
    if (code === null) ++killed;
    if (statSync(path).size > size) ++grown;
    size = statSync(path).size;
  }
  expect(killed).toBeGreaterThan(3);
  expect(grown).toBeGreaterThan(1);
  expect(await write(path, groups)).toMatchObject({ code: 0, stderr: "" });
  const { seed } = JSON.parse(readFileSync(`${path}.settings.json`, "utf8")) as { seed: number };
  const written = samplesOf(path);
  expect(written).toHaveLength(4 * groups);
  for (let group = 0; group < groups; ++group)
    for (let k = 0; k < 4; ++k) {
      const found = written.filter(
        ({ group_index, metadata }) => group_index === group && metadata.lockstep.sampleIndex === k,
      );
      expect(found).toEqual([slimeSample(group, k, seed)]);
    }
});

it("cuts a torn last line at whatever byte it ends, and goes on behind the one before", async () => {
  const path = await twoSamples();
  const whole = readFileSync(path);
  const second = whole.indexOf("\n") + 1;
  for (let size = second; size < whole.length; ++size) {
    writeFileSync(path, whole.subarray(0, size));
    const journal = await Journal.open(path, {}, { seed: 9 });
    expect(journal.settings).toEqual({ seed: 7 });
    expect([journal.has(1, 0), journal.has(1, 1), journal.count]).toEqual([true, false, 1]);
    await journal.append(sample(1, 1));
    await journal.close();
    expect(readFileSync(path).equals(whole), String(size)).toBe(true);
  }
});

it("begins anew where not even the first line is whole, with what was not written as its settings", async () => {
  const path = await twoSamples({ n: 4 });
  truncateSync(path, 20);
  const journal = await Journal.open(path, { n: 8 }, { seed: 9 });
  expect(journal.settings).toEqual({ n: 8, seed: 9 });
  await journal.close();
  expect(statSync(path).size).toBe(0);
});

it("cuts a last line of garbage, as a power cut may leave", async () => {
  const path = await twoSamples();
  const whole = readFileSync(path);
  writeFileSync(path, Buffer.concat([whole, Buffer.alloc(100), Buffer.from('"}\n')]));
  await (await Journal.open(path, { seed: 7 })).close();
  expect(readFileSync(path).equals(whole)).toBe(true);
});

it("refuses other settings, and names those that differ", async () => {
  const path = await twoSamples({ n: 4, topP: 0.9, reward: undefined });
  const before = readFileSync(path);
  const opened = Journal.open(path, { n: 8, topP: 0.9, temperature: 1, seed: 7 });
  await expect(opened).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.stringMatching(/differ: n \(4 then, 8 now\), temperature \(not set then, 1 now\)\./),
  });
  await expect(Journal.open(path, { n: 4, topP: 0.9, seed: 8 })).rejects.toThrow("seed (7 then, 8 now)");
  expect(readFileSync(path).equals(before)).toBe(true);
  await (await Journal.open(path, { topP: 0.9, n: 4 }, { seed: 8 })).close();
});

it.each<[string, string]>([
  ["a file of somebody else's", '{"prompt": "a"}\n{"prompt": "b"}\n'],
  ["a file without a newline", "notes"],
])("leaves %s as it is", async (_, text) => {
  const path = newFile();
  writeFileSync(path, text);
  await expect(Journal.open(path, {})).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(readFileSync(path, "utf8")).toBe(text);
});

it.each<[string, (lines: string[]) => string[], RegExp]>([
  ["a sample twice", ([a, b]) => [a!, b!, a!], /line 3 is of a sample that is there already \(1:0\)/],
  ["a bad line in the middle", ([a, b]) => [a!, "{}", b!], /line 2 is no sample/],
])("refuses a file with %s, and leaves it as it is", async (_, change, message) => {
  const path = await twoSamples();
  const text = `${change(linesOf(path)).join("\n")}\n`;
  writeFileSync(path, text);
  await expect(Journal.open(path, { seed: 7 })).rejects.toThrow(message);
  expect(readFileSync(path, "utf8")).toBe(text);
});

it("keeps what is whole when the disk is full, and goes on when it is not", async () => {
  const path = newFile();
  // Files of this shell may have 1,000 blocks of 1,024 bytes.
  const { code, stderr } = await write(path, 30, undefined, "ulimit -f 1000; exec");
  expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringMatching(/^FILE_ERROR .*EFBIG/) });
  expect(readFileSync(path, "utf8")).toMatch(/\n$/);
  const kept = keysOf(path).length;
  expect(kept).toBeGreaterThan(0);
  expect(kept).toBeLessThan(120);
  expect(await write(path, 30)).toMatchObject({ code: 0 });
  expect(new Set(keysOf(path).map(String)).size).toBe(120);
  expect(linesOf(path)).toHaveLength(120);
});

it("says so when something else writes to the file, and writes no more", async () => {
  const path = await twoSamples();
  const journal = await Journal.open(path, { seed: 7 });
  const other = await Journal.open(path, { seed: 7 });
  await other.append(sample(1, 2));
  await other.close();
  await journal.append(sample(1, 2)).catch(() => {}); // or in close()
  await expect(journal.close()).rejects.toMatchObject({
    code: "FILE_ERROR",
    message: expect.stringContaining("something else has changed it"),
  });
  expect(keysOf(path)).toEqual([
    [1, 0],
    [1, 1],
    [1, 2],
  ]);
});

it.each<[string, (path: string) => string]>([
  ["a folder that is not there", (path) => join(path, "..", "none", "samples.jsonl")],
  ["a folder", (path) => join(path, "..")],
  ["a device", () => "/dev/full"],
])("reports %s as FILE_ERROR", async (_, place) => {
  await expect(Journal.open(place(newFile()), {})).rejects.toMatchObject({ code: "FILE_ERROR" });
});
