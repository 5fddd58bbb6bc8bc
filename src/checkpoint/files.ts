/**
 * File access of the checkpoint reader: regular files only, symbolic links followed (the Hub's cache is made of them),
 * sizes checked before anything is allocated, and every I/O error turned into a typed one that names the file.
 * Async on libuv's threads. Must not look at a directory's listing: what is read is named, never globbed.
 */
import { constants } from "node:fs";
import { type FileHandle, lstat, open } from "node:fs/promises";
import { refuse } from "./refuse.js";

/**
 * The cap on config.json, generation_config.json, the index and a safetensors header. 50 times the header of
 * Qwen3-32B; refusing the worst such file takes under 100 ms and 64 MB (RELIABILITY.md, R1; tests/checkpoint/limits).
 */
export const kMaxJsonBytes = 4 * 1024 * 1024;

export interface FileStamp {
  path: string;
  sizeBytes: number;
  mtimeMs: number;
}

/** Opens `path`, which must be a regular file or a link to one, runs `body` on it, and closes it. */
export async function withFile<T>(
  path: string,
  body: (handle: FileHandle, stamp: FileStamp) => Promise<T>,
): Promise<T> {
  let handle: FileHandle;
  try {
    // O_NONBLOCK: opening a FIFO would otherwise wait for a writer, for ever.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw refuse(path, await whyNotOpened(path, cause), cause);
  }
  try {
    const stat = await handle.stat();
    if (stat.isDirectory()) throw refuse(path, "Expected a file but found a directory");
    if (!stat.isFile()) throw refuse(path, "Expected a regular file but found a device, pipe or socket");
    return await body(handle, { path, sizeBytes: stat.size, mtimeMs: stat.mtimeMs });
  } finally {
    await handle.close();
  }
}

/** Exactly `length` bytes from `offset`; the caller has compared both with the file's size. */
export async function readExactly(
  handle: FileHandle,
  path: string,
  offset: number,
  length: number,
): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    let bytesRead: number;
    try {
      ({ bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled));
    } catch (cause) {
      throw refuse(path, `could not be read at byte ${offset + filled} (${codeOf(cause)})`, cause);
    }
    if (bytesRead === 0) {
      throw refuse(
        path,
        `Expected ${length} bytes at ${offset} but the file ended after ${filled}: it shrank`,
      );
    }
    filled += bytesRead;
  }
  return bytes;
}

/** A whole small file. */
export async function readSmallFile(path: string): Promise<Buffer> {
  return withFile(path, async (handle, { sizeBytes }) => {
    if (sizeBytes > kMaxJsonBytes)
      throw refuse(path, `Expected at most ${kMaxJsonBytes} bytes but the file has ${sizeBytes}`);
    return readExactly(handle, path, 0, sizeBytes);
  });
}

/** Whether something has this name: a dangling link counts, so that it is reported and not passed over. */
export async function nameExists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return false;
    throw refuse(path, `could not be examined (${codeOf(cause)})`, cause);
  }
}

export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | undefined)?.code ?? "unknown error";
}

async function whyNotOpened(path: string, cause: unknown): Promise<string> {
  const code = codeOf(cause);
  if (code === "ENOENT") {
    const link = await lstat(path).catch(() => undefined);
    return link?.isSymbolicLink()
      ? "Expected a file but found a symbolic link whose target does not exist"
      : "Expected this file but it does not exist";
  }
  if (code === "ELOOP") return "Expected a file but found symbolic links that lead in a circle (ELOOP)";
  return `could not be opened (${code})`;
}
