/**
 * Owns a file that only grows, by whole lines behind an fsync; and files that are replaced whole or not at all. Main thread.
 *
 * A line is there whole, with its newline and fsynced, or it does not count: what a kill, a full disk or a power cut leaves
 * behind the last whole line is cut off by cutTo() when the file is opened again. Must not know what is in a line, and must
 * not touch a file that something else wrote to meanwhile.
 */
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { LockstepError, messageOf } from "./errors.js";

/** Bytes of lines that may wait to be written before append() does. */
const kMaxQueued = 2 ** 24;
const kReadBytes = 2 ** 20;

/** What waits rejects with FILE_ERROR where the file system refuses; from then on nothing more is written. */
export class LineFile {
  readonly path: string;
  readonly #file: FileHandle;
  #size: number; // as this run left it: whole lines, all on disk
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #writing: Promise<void> | undefined;
  #failure: LockstepError | undefined;

  /** Makes the file where there is none. */
  static async open(path: string): Promise<LineFile> {
    return failing(path, async () => {
      const file = await openOrCreate(path);
      const stats = await file.stat();
      if (stats.isFile()) return new LineFile(path, file, stats.size);
      await file.close();
      throw new Error("it is not a regular file");
    });
  }

  private constructor(path: string, file: FileHandle, size: number) {
    this.path = path;
    this.#file = file;
    this.#size = size;
  }

  /** In bytes, whatever they are; of the whole lines after cutTo(). */
  get size(): number {
    return this.#size;
  }

  /** The lines that were there, as linesOf() has them. Before anything is appended. */
  lines(): AsyncGenerator<Buffer> {
    return linesIn(this.#file, this.path);
  }

  /** The first bytes of the file, as text: whose it is, where it has no whole line. */
  async beginning(bytes: number): Promise<string> {
    const { bytesRead, buffer } = await failing(
      this.path,
      () => this.#file.read(Buffer.alloc(bytes), 0, bytes, 0),
      "read",
    );
    return buffer.toString("utf8", 0, bytesRead);
  }

  /** Keeps the first `size` bytes, which are whole lines. */
  async cutTo(size: number): Promise<void> {
    await failing(this.path, async () => {
      await this.#file.truncate(size);
      await this.#file.sync();
    });
    this.#size = size;
  }

  /** Queues a line, to which it adds the newline; waits where many bytes are queued. A failure to write shows here, or later. */
  async append(line: string): Promise<void> {
    if (this.#failure) throw this.#failure;
    const bytes = Buffer.from(`${line}\n`);
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    this.#writing ??= this.#writeQueued();
    if (this.#queuedBytes > kMaxQueued) await this.flush();
  }

  /** Returns when all lines are on disk. Throws where they are not; those that are stay. */
  async flush(): Promise<void> {
    await this.#writing;
    if (this.#failure) throw this.#failure;
  }

  /** The same, and closes the file. */
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
      await failing(this.path, () => this.#write(lines)).catch((error: LockstepError) => {
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
        `Expected ${this.path} to be written by one run only but something else has changed it: ` +
          `it has ${size} bytes where this run left ${this.#size}`,
      );
    try {
      for (let done = 0; done < lines.length; ) {
        const { bytesWritten } = await this.#file.write(lines, done, lines.length - done, size + done);
        done += bytesWritten;
      }
      await this.#file.datasync();
    } catch (error) {
      await this.#file.truncate(size).catch(() => {}); // else at the next open
      throw error;
    }
    this.#size += lines.length;
  }
}

/** The whole lines of a file, newline included; a last one that has none is left out. */
export async function* linesOf(path: string): AsyncGenerator<Buffer> {
  const file = await failing(path, () => open(path, "r"), "read");
  try {
    yield* linesIn(file, path);
  } finally {
    await file.close();
  }
}

async function* linesIn(file: FileHandle, path: string): AsyncGenerator<Buffer> {
  let pieces: Buffer[] = []; // of a line whose end is not read yet
  let position = 0;
  for (;;) {
    const piece = Buffer.alloc(kReadBytes);
    const { bytesRead } = await failing(path, () => file.read(piece, 0, kReadBytes, position), "read");
    if (bytesRead === 0) return;
    position += bytesRead;
    const read = piece.subarray(0, bytesRead);
    let from = 0;
    for (let end = read.indexOf("\n"); end >= 0; end = read.indexOf("\n", from)) {
      yield Buffer.concat([...pieces, read.subarray(from, end + 1)]);
      pieces = [];
      from = end + 1;
    }
    pieces.push(read.subarray(from));
  }
}

/** Writes all of the pieces as the new text, or leaves what was there. Throws FILE_ERROR. */
export function replaceFile(path: string, pieces: Iterable<string> | AsyncIterable<string>): Promise<void> {
  return failing(path, async () => {
    const beside = `${path}.new`;
    try {
      const file = await open(beside, "w");
      try {
        for await (const piece of pieces) await file.writeFile(piece);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(beside, path);
    } catch (error) {
      await rm(beside, { force: true }).catch(() => {});
      throw error;
    }
    await syncDirectory(path);
  });
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

/** What the file system refuses is a FILE_ERROR, with its reason. */
async function failing<T>(path: string, body: () => Promise<T>, doing = "write"): Promise<T> {
  try {
    return await body();
  } catch (cause) {
    if (cause instanceof LockstepError) throw cause;
    throw new LockstepError("FILE_ERROR", `Cannot ${doing} ${path}: ${messageOf(cause)}`, { cause });
  }
}

// ---- what the lines of a file were made with ----

/** JSON values, by name. One set to undefined is absent. */
export type Settings = Record<string, unknown>;

/** Each setting that is not the same in both, "name (then, now)"; what is in an object by "outer.inner". */
export function differences(then: Settings, now: Settings): string[] {
  const shown = (value: unknown) => (value === undefined ? "not set" : JSON.stringify(value));
  const [flatThen, flatNow] = [flat(then), flat(now)];
  return [...new Set([...flatThen.keys(), ...flatNow.keys()])]
    .filter((name) => shown(flatThen.get(name)) !== shown(flatNow.get(name)))
    .map((name) => `${name} (${shown(flatThen.get(name))} then, ${shown(flatNow.get(name))} now)`);
}

function flat(settings: Settings): Map<string, unknown> {
  const named = Object.entries(settings).flatMap(([name, value]): [string, unknown][] =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? [...flat(value as Settings)].map(([inner, one]) => [`${name}.${inner}`, one])
      : [[name, value]],
  );
  return new Map(named);
}

/** The refusal to go on with a file under other settings. */
export function otherSettings(path: string, differing: readonly string[], advice: string): LockstepError {
  return new LockstepError(
    "INVALID_ARGUMENT",
    `Expected the settings that ${path} was begun with but these differ: ${differing.join(", ")}. ${advice}`,
  );
}

/** The refusal of a file whose line is none of ours. */
export function notOurs(path: string, line: number, what: string): LockstepError {
  return new LockstepError(
    "INVALID_ARGUMENT",
    `Expected ${path} to be new or the output of an earlier run but its line ${line} ${what}`,
  );
}

/** Undefined for what is no JSON. */
export function parsedLine(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString());
  } catch {
    return undefined;
  }
}
