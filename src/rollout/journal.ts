/**
 * Owns the file that `lockstep rollout` writes: JSON lines, one a finished sample, each a SlimeSample, appended and never
 * rewritten; and beside it FILE.settings.json, with the settings that all lines were made with. Main thread.
 *
 * A line is there whole, with its newline and fsynced, or it does not count: what a kill, a full disk or a power cut leaves
 * behind the last whole line is cut off when the file is opened again. Hence a run may be ended anywhere and begun again,
 * and no sample is lost or there twice. Must not mix settings, and must not touch a file that something else wrote to.
 */
import { type FileHandle, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { LockstepError, messageOf } from "../errors.js";
import type { SlimeSample } from "./slime-sample.js";

/** JSON values, by name. One set to undefined is absent. */
export type Settings = Record<string, unknown>;

/** Bytes of lines that may wait to be written before append() does. */
const kMaxQueued = 2 ** 24;
const kReadBytes = 2 ** 20;

export class Journal {
  /** Those of the lines in the file. */
  readonly settings: Settings;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #keys: Set<string>;
  #size: number; // of the whole lines, all on disk
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #writing: Promise<void> | undefined;
  #failure: LockstepError | undefined;

  /**
   * Begins a file, or goes on with one. Its lines must have been made with the same `settings`; of those in `drawn` an
   * earlier run's hold. Throws INVALID_ARGUMENT, with the settings that differ, and FILE_ERROR.
   */
  static async open(path: string, settings: Settings, drawn: Settings = {}): Promise<Journal> {
    return failing(path, async () => {
      const file = await openOrCreate(path);
      try {
        const earlier = await earlierSettings(path, file); // first: what is not ours is left as it is
        const { keys, size } = await readKeys(path, file);
        const used = agree(path, settings, drawn, keys.size > 0 ? earlier : undefined);
        if (keys.size === 0) await replace(settingsPath(path), `${JSON.stringify(used, undefined, 2)}\n`);
        await file.truncate(size);
        await file.sync();
        return new Journal(path, file, used, keys, size);
      } catch (error) {
        await file.close();
        throw error;
      }
    });
  }

  private constructor(path: string, file: FileHandle, settings: Settings, keys: Set<string>, size: number) {
    this.#path = path;
    this.#file = file;
    this.settings = settings;
    this.#keys = keys;
    this.#size = size;
  }

  /** Samples in the file, or on their way into it. */
  get count(): number {
    return this.#keys.size;
  }

  has(groupIndex: number, sampleIndex: number): boolean {
    return this.#keys.has(keyOf(groupIndex, sampleIndex));
  }

  /** Queues a line; waits where many bytes are queued. A failure to write shows here, or in close(). */
  async append(sample: SlimeSample): Promise<void> {
    if (this.#failure) throw this.#failure;
    const key = keyOfLine(sample)!;
    if (this.#keys.has(key)) throw new Error(`Sample ${key} is in ${this.#path} already`);
    this.#keys.add(key);
    const line = Buffer.from(`${JSON.stringify(sample)}\n`);
    this.#queue.push(line);
    this.#queuedBytes += line.length;
    this.#writing ??= this.#writeQueued();
    if (this.#queuedBytes > kMaxQueued) await this.#writing;
    if (this.#failure) throw this.#failure;
  }

  /** Returns when all lines are on disk. Throws FILE_ERROR where they are not; those that are stay. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
    if (this.#failure) throw this.#failure;
  }

  /** Lines that were finished together go together, behind one fsync. Never rejects. */
  async #writeQueued(): Promise<void> {
    while (this.#queue.length > 0 && !this.#failure) {
      const lines = Buffer.concat(this.#queue);
      this.#queue = [];
      this.#queuedBytes = 0;
      await failing(this.#path, () => this.#write(lines)).catch((error: LockstepError) => {
        this.#failure = error;
      });
    }
    this.#writing = undefined;
  }

  async #write(lines: Buffer): Promise<void> {
    const { size } = await this.#file.stat();
    if (size !== this.#size)
      throw new LockstepError(
        "FILE_ERROR",
        `Expected ${this.#path} to be written by one run only but something else has changed it: ` +
          `it has ${size} bytes where this run left ${this.#size}`,
      );
    try {
      for (let done = 0; done < lines.length; ) {
        const { bytesWritten } = await this.#file.write(lines, done, lines.length - done, size + done);
        done += bytesWritten;
      }
      await this.#file.datasync();
    } catch (error) {
      await this.#file.truncate(size).catch(() => {}); // else at the next open()
      throw error;
    }
    this.#size += lines.length;
  }
}

// ---- the file as it was left ----

const keyOf = (groupIndex: number, sampleIndex: number): string => `${groupIndex}:${sampleIndex}`;

/** Undefined for what is no line of ours. */
function keyOfLine(line: unknown): string | undefined {
  const { group_index, metadata } = (line ?? {}) as Partial<SlimeSample>;
  const sampleIndex = metadata?.lockstep?.sampleIndex;
  if (!Number.isInteger(group_index) || !Number.isInteger(sampleIndex)) return undefined;
  return keyOf(group_index!, sampleIndex as number);
}

/** The samples in a file and the size of its whole lines. A last line that is torn does not count. */
async function readKeys(path: string, file: FileHandle): Promise<{ keys: Set<string>; size: number }> {
  const keys = new Set<string>();
  let size = 0;
  let torn = false;
  for await (const line of linesOf(file)) {
    if (torn) throw notOurs(path, keys.size + 1, "is no sample");
    const key = keyOfLine(parsed(line));
    torn = key === undefined;
    if (key === undefined) continue;
    if (keys.has(key)) throw notOurs(path, keys.size + 1, `is of a sample that is there already (${key})`);
    keys.add(key);
    size += line.length;
  }
  return { keys, size };
}

function notOurs(path: string, line: number, what: string): LockstepError {
  return new LockstepError(
    "INVALID_ARGUMENT",
    `Expected ${path} to be new or the output of an earlier run but its line ${line} ${what}`,
  );
}

function parsed(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString());
  } catch {
    return undefined;
  }
}

/** Whole lines, newline included. */
async function* linesOf(file: FileHandle): AsyncGenerator<Buffer> {
  let pieces: Buffer[] = []; // of a line whose end is not read yet
  let position = 0;
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(kReadBytes), 0, kReadBytes, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    const read = buffer.subarray(0, bytesRead);
    let from = 0;
    for (let end = read.indexOf("\n"); end >= 0; end = read.indexOf("\n", from)) {
      yield Buffer.concat([...pieces, read.subarray(from, end + 1)]);
      pieces = [];
      from = end + 1;
    }
    pieces.push(read.subarray(from));
  }
}

async function openOrCreate(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r+");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const file = await open(path, "wx+");
  await syncDirectory(path);
  return file;
}

/** A name that a directory does not hold on disk yet is lost in a power cut, and the file with it. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(dirname(path), "r");
  await directory.sync().catch(() => {}); // not every file system can
  await directory.close();
}

// ---- settings ----

const settingsPath = (path: string): string => `${path}.settings.json`;
const present = (settings: Settings): Settings => JSON.parse(JSON.stringify(settings)) as Settings;

/** Those beside a file that has something in it. */
async function earlierSettings(path: string, file: FileHandle): Promise<Settings | undefined> {
  const stats = await file.stat();
  if (!stats.isFile()) throw new Error("it is not a regular file");
  if (stats.size === 0) return undefined;
  const beside = settingsPath(path);
  try {
    return JSON.parse(await readFile(beside, "utf8")) as Settings;
  } catch (cause) {
    throw new LockstepError(
      "INVALID_ARGUMENT",
      `Expected ${path} to be new or the output of an earlier run but ${beside}, which would say what run, cannot be read: ${messageOf(cause)}`,
      { cause },
    );
  }
}

/** The settings to use; what is not given was drawn, now or earlier. */
function agree(path: string, settings: Settings, drawn: Settings, earlier: Settings | undefined): Settings {
  const drawnEarlier = Object.entries(earlier ?? {}).filter(([name]) => name in drawn);
  const used = { ...drawn, ...Object.fromEntries(drawnEarlier), ...present(settings) };
  if (!earlier) return used;
  const shown = (value: unknown) => (value === undefined ? "not set" : JSON.stringify(value));
  const differing = [...new Set([...Object.keys(earlier), ...Object.keys(used)])]
    .filter((name) => shown(earlier[name]) !== shown(used[name]))
    .map((name) => `${name} (${shown(earlier[name])} then, ${shown(used[name])} now)`);
  if (differing.length === 0) return used;
  throw new LockstepError(
    "INVALID_ARGUMENT",
    `Expected the settings that ${path} was begun with but these differ: ${differing.join(", ")}. Give the same, or another file`,
  );
}

/** All of the new text, or the old one. */
async function replace(path: string, text: string): Promise<void> {
  const file = await open(`${path}.new`, "w");
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  await syncDirectory(path);
}

/** What the file system refuses is a FILE_ERROR, with its reason. */
async function failing<T>(path: string, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (cause) {
    if (cause instanceof LockstepError) throw cause;
    throw new LockstepError("FILE_ERROR", `Cannot write ${path}: ${messageOf(cause)}`, { cause });
  }
}
