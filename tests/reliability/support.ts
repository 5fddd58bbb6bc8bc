/** What the reliability tests share: checkpoints, engines, child processes, what is compared, what /proc says. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { Engine, type Generation, type LoadOptions } from "lockstep";
import { type WriteOptions, writeRandomCheckpoint } from "../model/random-checkpoint.js";

export const kDemoModel = fileURLToPath(new URL("../../examples/demo/model", import.meta.url));
export const kDemoVocab = 704;

/** A prompt that the demo model goes on about for as long as it is let. */
export const kTokens = { tokens: [695, 82, 88, 274, 68, 76, 198] };
export const kEndless = { temperature: 0, ignoreEos: true };

export const kTinyVocab = 64;

/**
 * A checkpoint of 30 KB with random weights, in a new directory; the caller removes it. Two ranks are possible. `edit`
 * changes the weights before they are written.
 */
export function writeTinyModel(context = 512, edit?: WriteOptions["edit"]): string {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-tiny-"));
  const shape = {
    layers: 2,
    hidden: 32,
    heads: 4,
    kvHeads: 2,
    headDim: 8,
    mlp: 48,
    context,
    tied: false,
  };
  writeRandomCheckpoint(directory, { ...shape, vocab: kTinyVocab }, edit && { edit });
  return directory;
}

/** Overwrites the embedding of `token` with NaN: the logits of prompts that hold it are NaN from there on. */
export function poison(directory: string, token: number): void {
  const path = join(directory, "model.safetensors");
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerBytes));
  const { shape, data_offsets } = header["model.embed_tokens.weight"];
  const rowBytes = 2 * shape[1];
  const begin = 8 + headerBytes + data_offsets[0] + token * rowBytes;
  for (let at = begin; at < begin + rowBytes; at += 2) bytes.writeUInt16LE(0x7fc0, at);
  writeFileSync(path, bytes);
}

/** Loads a checkpoint, hands the engine to `body` and closes it. */
export async function withEngine<T>(
  model: string,
  options: LoadOptions,
  body: (engine: Engine) => Promise<T>,
): Promise<T> {
  const engine = await Engine.load(model, options);
  try {
    return await body(engine);
  } finally {
    await engine.close();
  }
}

/** Waits until `condition` holds; fails after `timeoutMs`. */
export async function until(condition: () => boolean, what: string, timeoutMs = 10_000): Promise<void> {
  for (const start = performance.now(); !condition(); await sleep(1))
    if (performance.now() - start > timeoutMs) throw new Error(`waited in vain until ${what}`);
}

/** Everything in a Generation that the contract speaks of: not its usage, not how long it took. */
export function whatCounts(generation: Generation | undefined): Partial<Generation> | undefined {
  if (!generation) return undefined;
  const {
    usage: _usage,
    weightVersion: _version,
    weightVersions: _spans,
    toolCalls: _calls,
    error,
    ...rest
  } = generation;
  return error ? { ...rest, error: error.code as unknown as NonNullable<Generation["error"]> } : rest;
}

/** "" where two results are the same to the last bit; else which field differs, and where. */
export function difference(expected: unknown, actual: unknown): string {
  if (isDeepStrictEqual(expected, actual)) return "";
  const fields = { ...(expected as object), ...(actual as object) };
  const field = Object.keys(fields).find((key) => !isDeepStrictEqual(at(expected, key), at(actual, key)));
  if (field === undefined) return "something";
  const [left, right] = [at(expected, field), at(actual, field)];
  const index =
    Array.isArray(left) && Array.isArray(right)
      ? left.findIndex((one, i) => !isDeepStrictEqual(one, right[i]))
      : -1;
  const show = (value: unknown) => JSON.stringify(index < 0 ? value : at(value, String(index)))?.slice(0, 80);
  return `${field}${index < 0 ? "" : `[${index}]`}: ${show(left)} expected, ${show(right)} here`;
}

const at = (value: unknown, key: string): unknown => (value as Record<string, unknown> | undefined)?.[key];

/** The same in every run. */
export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; --i) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}

/** An integer in [low, high]. */
export const between = (random: () => number, low: number, high: number): number =>
  low + Math.floor(random() * (high - low + 1));

export const pick = <T>(random: () => number, items: readonly T[]): T =>
  items[Math.floor(random() * items.length)]!;

/** Linux: what this process holds. */
export function resources(): { threads: number; fds: number; rssBytes: number } {
  const rssPages = Number(readFileSync("/proc/self/statm", "utf8").split(" ")[1]);
  return {
    threads: readdirSync("/proc/self/task").length,
    fds: readdirSync("/proc/self/fd").length,
    rssBytes: rssPages * 4096,
  };
}

export interface ChildResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** From the line "go" on stdout to the end. */
  msAfterGo: number;
}

export interface ChildOptions {
  args?: string[];
  nodeArgs?: string[];
  env?: Record<string, string>;
  timeoutMs?: number;
  /** Sent at the line "go". */
  kill?: NodeJS.Signals;
}

/** Runs children/NAME.mjs in a Node of its own. */
export function runChild(name: string, options: ChildOptions = {}): Promise<ChildResult> {
  const script = fileURLToPath(new URL(`./children/${name}.mjs`, import.meta.url));
  const { args = [], nodeArgs = [], env = {}, timeoutMs = 60_000, kill } = options;
  const child = spawn(process.execPath, [...nodeArgs, script, ...args], {
    env: { ...process.env, NODE_OPTIONS: "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  return new Promise((resolve, reject) => {
    let stdout = "";
    let stderr = "";
    let go: number | undefined;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      if (go !== undefined || !/^go$/m.test(stdout)) return;
      go = performance.now();
      if (kill) child.kill(kill);
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.on("error", reject);
    child.on("close", (code, signal) =>
      resolve({ code, signal, stdout, stderr, msAfterGo: performance.now() - (go ?? Number.NaN) }),
    );
  });
}
