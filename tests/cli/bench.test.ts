/** `lockstep bench` from outside, in small sizes. Speeds are never judged here: only what is reported, and on what. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { doctor } from "lockstep";
import { describe, expect, it, vi } from "vitest";
import { MODEL, runCli } from "./run-cli.js";

vi.setConfig({ testTimeout: 120_000 });

const SMALL = ["--context", "16", "--tokens", "4", "--rounds", "2"];
const TWO = ["--prefill", "8", "--decode", "3", ...SMALL];

async function figures(...args: string[]) {
  const { code, stdout, stderr } = await runCli(["bench", "--json", ...args]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

const positive = expect.toSatisfy((value: number) => Number.isFinite(value) && value > 0);

it("writes a line of JSON per figure that says what was measured on what", async () => {
  const lines = await figures(MODEL, "--prefill", "8,40", "--decode", "1,3", ...SMALL, "--threads", "2");
  expect(
    lines.map(({ kind, sequences, promptTokens, newTokens }) => [kind, sequences, promptTokens, newTokens]),
  ).toEqual([
    ["prefill", 1, 8, 1],
    ["prefill", 1, 40, 1],
    ["decode", 1, 16, 4],
    ["decode", 3, 16, 4],
  ]);
  const { cpu, platform, physicalCores, node, computePath } = doctor();
  for (const line of lines) {
    expect(line).toMatchObject({
      tokensPerSecond: { median: positive, min: positive, max: positive },
      floor: {
        tokensPerSecond: positive,
        percent: positive,
        limit: expect.stringMatching(/^(bandwidth|compute)$/),
        bytes: positive,
        flops: positive,
      },
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      machine: { cpu, platform, physicalCores },
      versions: { lockstep: expect.stringMatching(/^\d+\.\d+\.\d+/), node },
      computePath,
      threads: 2,
      settings: { threads: 2, prefixCache: false, maxBatchTokens: 512 },
      floors: { readBytesPerSecond: positive, flopsPerSecond: positive, bufferBytes: positive },
      model: { name: MODEL, layers: 6, hidden: 192, vocab: 704 },
    });
    expect(Number.isNaN(Date.parse(line.date))).toBe(false);
    const { min, median, max } = line.tokensPerSecond;
    expect(min).toBeLessThanOrEqual(median);
    expect(median).toBeLessThanOrEqual(max);
  }
});

it("produces the same tokens whatever the threads, and others for other work", async () => {
  const hashes = async (...args: string[]) =>
    (await figures(MODEL, ...TWO, ...args)).map(({ sha256 }) => sha256);
  const one = await hashes("--threads", "1");
  expect(await hashes("--threads", "2")).toEqual(one);
  expect(new Set(one).size).toBe(2);
});

it("writes a table for people, a row per figure", async () => {
  const { code, stdout } = await runCli(["bench", MODEL, ...TWO]);
  expect(code).toBe(0);
  const lines = stdout.trimEnd().split("\n");
  expect(lines[0]).toMatch(/^\S+, threads: \d+, weights read for a token: 5\.0 MB$/);
  expect(lines[2]).toMatch(/^work +tok\/s +min +max +floor +% +limit +GB\/s +GFLOP\/s$/);
  expect(lines.slice(3).map((line) => line.split(/ {2,}/)[0])).toEqual([
    "prefill, 8 tokens",
    "decode, batch 3 at 16 tokens",
  ]);
  for (const line of lines.slice(3))
    expect(line).toMatch(/( +\d+\.\d){5} +(bandwidth|compute)( +\d+\.\d){2}$/);
});

describe("--profile", () => {
  const PROFILE = [MODEL, "--profile", "--prefill", "600", "--decode", "3", ...SMALL];

  it("adds a line of JSON per work with its kernels beside the floors", async () => {
    const lines = await figures(...PROFILE);
    expect(lines.map(({ kind, profile }) => [kind, profile !== undefined])).toEqual([
      ["prefill", false],
      ["decode", false],
      ["prefill", true],
      ["decode", true],
    ]);
    for (const { profile, floors, device } of lines.slice(2)) {
      expect(device).toBe("cpu");
      expect(profile).toMatchObject({ steps: positive, stepSeconds: positive, restSeconds: positive });
      const { kernels, steps, stepSeconds, restSeconds } = profile;
      let sum = restSeconds;
      for (const kernel of kernels) {
        sum += kernel.seconds / steps;
        expect(kernel).toMatchObject({ calls: positive, seconds: positive, bytes: positive });
        expect(kernel.bytesPerSecond).toBeCloseTo(kernel.bytes / kernel.seconds, 0);
        expect(kernel.percentOfRead / 100).toBeCloseTo(kernel.bytesPerSecond / floors.readBytesPerSecond, 2);
        expect(kernel.percentOfFlops / 100).toBeCloseTo(kernel.flopsPerSecond / floors.flopsPerSecond, 2);
        expect(["bandwidth", "compute"]).toContain(kernel.limit);
      }
      expect(sum).toBeCloseTo(stepSeconds, 9);
    }
    // Two rounds of two steps (512 and 88 tokens) count, of which one needs the head.
    const prefill = lines[2].profile;
    const calls = (name: string) => prefill.kernels.find((one: { name: string }) => one.name === name).calls;
    expect([prefill.steps, calls("embed"), calls("gate_up 1024x192"), calls("sample")]).toEqual([
      4, 4, 24, 2,
    ]);
    const decode = lines[3].profile; // only steps in which all decode
    expect(decode.kernels.find(({ name }: { name: string }) => name === "linear 704x192").flops).toBe(
      decode.steps * 3 * 2 * 704 * 192,
    );
  });

  it("adds a table per work for people", async () => {
    const small = ["--prefill", "8", "--decode", "2", "--context", "8", "--tokens", "4", "--rounds", "1"];
    const { code, stdout } = await runCli(["bench", MODEL, "--profile", ...small]);
    expect(code).toBe(0);
    const [, prefill, decode] = stdout.split(/^(?=(?:prefill|decode).*: a step of)/m);
    for (const [table, name] of [
      [prefill!, "prefill, 8 tokens"],
      [decode!, "decode, batch 2 at 8 tokens"],
    ] as const) {
      const lines = table.trimEnd().split("\n");
      expect(lines[0]).toMatch(new RegExp(`^${name}: a step of \\d+\\.\\d us$`));
      expect(lines[1]).toMatch(/^kernel +calls +us +% of step +GB\/s +% +GFLOP\/s +% +limit$/);
      expect(lines.at(-1)).toMatch(/^the rest +-?\d+\.\d +-?\d+\.\d$/);
      for (const line of lines.slice(2, -1))
        expect(line).toMatch(/^\w+( \d+x\d+)?( +\d+\.\d){7} +(bandwidth|compute)$/);
    }
  });
});

it("measures a checkpoint that bench/make-checkpoint.mjs wrote", async () => {
  const script = fileURLToPath(new URL("../../bench/make-checkpoint.mjs", import.meta.url));
  const directory = mkdtempSync(join(tmpdir(), "lockstep-bench-"));
  try {
    const make = () => execFileSync(process.execPath, [script, "tiny", directory], { encoding: "utf8" });
    expect(make()).toBe(`${directory}\n`);
    expect(make()).toBe(`${directory}\n`); // what is there is left as it is
    const [line] = await figures(directory, ...TWO);
    expect(line.model).toMatchObject({ layers: 2, hidden: 64, headDim: 128, vocab: 151_936 });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

it("writes the same weights as GGUF, for peers", () => {
  const script = (name: string) => fileURLToPath(new URL(`../../bench/${name}.mjs`, import.meta.url));
  const directory = mkdtempSync(join(tmpdir(), "lockstep-bench-"));
  try {
    execFileSync(process.execPath, [script("make-checkpoint"), "tiny", directory]);
    const path = execFileSync(process.execPath, [script("make-gguf"), directory], {
      encoding: "utf8",
    }).trim();
    const [gguf, safetensors] = [path, join(directory, "model.safetensors")].map((file) =>
      readFileSync(file),
    );
    expect(gguf!.subarray(0, 8)).toEqual(Buffer.from("GGUF\x03\0\0\0"));
    expect(gguf!.readBigUInt64LE(8)).toBe(24n); // two layers of 11, the embedding, the last norm
    // The embedding lies in both as it is; a norm's BF16 is the upper half of its F32.
    const header = JSON.parse(
      safetensors!.subarray(8, 8 + Number(safetensors!.readBigUInt64LE(0))).toString(),
    );
    const bytesOf = (name: string) => {
      const [start, end] = header[name].data_offsets;
      const from = 8 + Number(safetensors!.readBigUInt64LE(0));
      return safetensors!.subarray(from + start, from + end);
    };
    expect(gguf!.indexOf(bytesOf("model.embed_tokens.weight").subarray(0, 4096)) % 32).toBe(0);
    const norm = bytesOf("model.norm.weight");
    const wide = Buffer.concat(
      Array.from({ length: norm.length / 2 }, (_, i) => Buffer.from([0, 0, norm[2 * i]!, norm[2 * i + 1]!])),
    );
    expect(gguf!.indexOf(wide) % 32).toBe(0);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

it("measures Lockstep as its peers are measured, by bench/compare.mjs", () => {
  const script = fileURLToPath(new URL("../../bench/compare.mjs", import.meta.url));
  const args = [script, MODEL, "--work", "prefill:40,decode:2:16", "--rounds", "1", "--tokens", "4"];
  const out = execFileSync(process.execPath, args, { encoding: "utf8" });
  expect(out).toMatch(/^prefill:40 +lockstep +\d+\.\d tokens\/s +\d+ % of the floor/m);
  expect(out).toMatch(/^decode:2:16 +lockstep +\d+\.\d tokens\/s/m);
});

it("compares shared with separate prompts by bench/rollouts.mjs, which draws the same samples in both ways", () => {
  const script = fileURLToPath(new URL("../../bench/rollouts.mjs", import.meta.url));
  const small = ["--prompt", "40", "--tokens", "4", "--groups", "2", "--n", "3", "--rounds", "2"];
  const run = () =>
    JSON.parse(execFileSync(process.execPath, [script, ...small], { stdio: "pipe" }).toString());
  const [first, second] = [run(), run()];
  expect(first).toMatchObject({
    settings: { prompt: 40, tokens: 4, groups: 2, n: 3, rounds: 2 },
    // The last token's K and V are never computed. Two blocks of 16 tokens are shared.
    shared: { computedTokens: { median: 6 * 43 - 4 * 32 }, cachedTokens: { median: 4 * 32 } },
    separate: { computedTokens: { median: 6 * 43 }, cachedTokens: { median: 0 } },
    ratio: { median: positive, min: positive, max: positive },
    sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  expect(second.sha256).toBe(first.sha256);
});

it("stops at Ctrl-C and keeps what was measured", async () => {
  const args = [
    "bench",
    MODEL,
    "--prefill",
    "8",
    "--decode",
    "4",
    "--tokens",
    "1500",
    "--rounds",
    "50",
    "--json",
  ];
  const { code, stdout } = await runCli(args, { onOutput: (child) => child.killed || child.kill("SIGINT") });
  expect(code).toBe(130);
  expect(JSON.parse(stdout)).toMatchObject({ kind: "prefill" });
});

it.each([
  ["a list that is none", [MODEL, "--prefill", "8,,9"], 2, /Expected positive integers, such as 1,4,16/],
  ["no sequences", [MODEL, "--decode", "0"], 2, /Expected positive integers/],
  ["half a round", [MODEL, "--rounds", "1.5"], 2, /Expected an integer/],
  ["a model that is not there", [`${MODEL}-not`], 1, /^error: [^\n]*\(MODEL_NOT_FOUND\)\n$/],
  ["a revision that is none", ["some/model", "--revision", "../x"], 2, /for revision but received/],
  [
    "a prompt beyond the context",
    [MODEL, "--prefill", "8,2048"],
    1,
    /at most 2047 tokens for --prefill but received 2048: .*\(PROMPT_TOO_LONG\)\n$/,
  ],
  [
    "more tokens than the context has",
    [MODEL, "--prefill", "8", "--decode", "1", "--tokens", "3000"],
    1,
    /at most 2047 tokens for --context and --tokens together but received 3128: .*\(PROMPT_TOO_LONG\)\n$/,
  ],
])("refuses %s", async (_, args, exitCode, expected) => {
  const { code, stdout, stderr } = await runCli(["bench", ...args]);
  expect(stderr).toMatch(expected);
  expect({ code, stdout }).toEqual({ code: exitCode, stdout: "" }); // before anything is measured
});
