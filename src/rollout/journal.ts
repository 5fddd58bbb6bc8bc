/**
 * Owns the file that `lockstep rollout` writes: JSON lines, one a finished sample, each a SlimeSample, appended and never
 * rewritten; and beside it FILE.settings.json, with the settings that all lines were made with. Main thread.
 *
 * A run may be ended anywhere and begun again, and no sample is lost or there twice (src/line-file.ts says how). Must not
 * mix settings, and must not touch a file that something else wrote to.
 */
import { readFile } from "node:fs/promises";
import { LockstepError, messageOf } from "../errors.js";
import {
  differences,
  LineFile,
  notOurs,
  otherSettings,
  parsedLine,
  replaceFile,
  type Settings,
} from "../line-file.js";
import type { SlimeSample } from "./slime-sample.js";

export type { Settings } from "../line-file.js";

export class Journal {
  /** Those of the lines in the file. */
  readonly settings: Settings;
  readonly #file: LineFile;
  readonly #keys: Set<string>;

  /**
   * Begins a file, or goes on with one. Its lines must have been made with the same `settings`; of those in `drawn` an
   * earlier run's hold. Throws INVALID_ARGUMENT, with the settings that differ, and FILE_ERROR.
   */
  static async open(path: string, settings: Settings, drawn: Settings = {}): Promise<Journal> {
    const file = await LineFile.open(path);
    try {
      const earlier = await earlierSettings(file); // first: what is not ours is left as it is
      const { keys, size } = await readKeys(file);
      const used = agree(path, settings, drawn, keys.size > 0 ? earlier : undefined);
      if (keys.size === 0) await replaceFile(settingsPath(path), [`${JSON.stringify(used, undefined, 2)}\n`]);
      await file.cutTo(size);
      return new Journal(file, used, keys);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  private constructor(file: LineFile, settings: Settings, keys: Set<string>) {
    this.#file = file;
    this.settings = settings;
    this.#keys = keys;
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
    const key = keyOfLine(sample)!;
    if (this.#keys.has(key)) throw new Error(`Sample ${key} is in ${this.#file.path} already`);
    this.#keys.add(key);
    await this.#file.append(JSON.stringify(sample));
  }

  /** Returns when all lines are on disk. Throws FILE_ERROR where they are not; those that are stay. */
  async close(): Promise<void> {
    await this.#file.close();
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
async function readKeys(file: LineFile): Promise<{ keys: Set<string>; size: number }> {
  const keys = new Set<string>();
  let size = 0;
  let torn = false;
  for await (const line of file.lines()) {
    if (torn) throw notOurs(file.path, keys.size + 1, "is no sample");
    const key = keyOfLine(parsedLine(line));
    torn = key === undefined;
    if (key === undefined) continue;
    if (keys.has(key))
      throw notOurs(file.path, keys.size + 1, `is of a sample that is there already (${key})`);
    keys.add(key);
    size += line.length;
  }
  return { keys, size };
}

// ---- settings ----

const settingsPath = (path: string): string => `${path}.settings.json`;
const present = (settings: Settings): Settings => JSON.parse(JSON.stringify(settings)) as Settings;

/** Those beside a file that has something in it. */
async function earlierSettings({ path, size }: LineFile): Promise<Settings | undefined> {
  if (size === 0) return undefined;
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
  const differing = earlier ? differences(earlier, used) : [];
  if (differing.length === 0) return used;
  throw otherSettings(path, differing, "Give the same, or another file");
}
