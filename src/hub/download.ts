/**
 * One remote file → a blob of the cache: resumes what is there, checks the content's hash, and only then gives the blob
 * its name. Main thread; the bytes are hashed and written as they come, 64 KiB or so at a time. Must leave the partial
 * file behind on every failure but a wrong hash, and must never write to a blob that has its name.
 *
 * What could go wrong if…
 * - two processes fetch the same file: both write the same bytes to the same positions of one partial file, and the one
 *   that sees the other's finished blob stops writing: the finished file may be mapped, and its time stamp is watched.
 * - the machine lost power and the partial file has a hole, or Python appended to it at the same time: the hash is
 *   wrong, the partial file goes, and the file is fetched once more from its beginning.
 * - the server ignores the range and sends everything: the file is written from its beginning.
 */
import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout } from "node:timers/promises";
import { LockstepError } from "../errors.js";
import { onDisk, type RepoCache, sizeOf } from "./cache.js";
import { ConnectionLost, type HubClient, type RemoteFile } from "./client.js";

export interface Download {
  cache: RepoCache;
  hub: HubClient;
  commit: string;
  file: RemoteFile;
  /** Bytes of the file on disk so far; goes back to 0 where it has to begin again. */
  onBytes: (loadedBytes: number) => void;
}

/** Of one load; a link that breaks more often is left to the next one. */
const kMaxRequests = 16;
const kPauseMs = 250;
const kReadBytes = 1 << 20;

/** Puts the file into the snapshot. */
export async function download(job: Download): Promise<void> {
  const { cache, commit, file } = job;
  if (!(await hasBlob(job))) {
    const blob = cache.blobPath(file.hash);
    await onDisk(blob, () => mkdir(dirname(blob), { recursive: true }));
    const resumed = (await sizeOf(partialPath(job))) ?? 0;
    // A resumed file may owe its wrong hash to what was there before.
    if (!(await fetchBlob(job)) && (resumed === 0 || !(await fetchBlob(job)))) throw wrongHash(job);
  }
  job.onBytes(file.sizeBytes);
  await cache.link(commit, file.name, file.hash);
}

/** Whether the blob is there now; false where the content has another hash, and the partial file is gone. */
async function fetchBlob(job: Download): Promise<boolean> {
  const { cache, file } = job;
  const partial = partialPath(job);
  const handle = await onDisk(partial, () => open(partial, constants.O_RDWR | constants.O_CREAT, 0o644));
  try {
    const hash = await fill(job, handle);
    if (hash !== file.hash) {
      await rm(partial, { force: true });
      return hash === undefined;
    }
    await onDisk(partial, async () => {
      await handle.sync();
      await rename(partial, cache.blobPath(file.hash)).catch(async (error) => {
        if (!(await hasBlob(job))) throw error; // another process was first
      });
    });
    return true;
  } finally {
    await handle.close();
  }
}

/** Writes what is missing and gives the whole content's hash; undefined where another process has made the blob. */
async function fill(job: Download, handle: FileHandle): Promise<string | undefined> {
  const { hub, commit, file, onBytes } = job;
  const partial = partialPath(job);
  let { hash, position } = await onDisk(partial, () => resumePoint(handle, file));
  for (let requests = 1; position < file.sizeBytes; requests += 1) {
    onBytes(position);
    const before = position;
    const { from, bytes } = await hub.open(commit, file, position);
    if (from !== position) {
      hash = newHash(file);
      position = from;
    }
    try {
      for await (const chunk of bytes) {
        if (await hasBlob(job)) return undefined;
        if (position + chunk.length > file.sizeBytes) throw wrongSize(job, "more");
        await onDisk(partial, () => writeAll(handle, chunk, position));
        hash.update(chunk);
        position += chunk.length;
        onBytes(position);
      }
      if (position < file.sizeBytes) throw wrongSize(job, `only ${position}`);
    } catch (error) {
      // It goes on for as long as each request brings something.
      if (!(error instanceof ConnectionLost) || position <= before || requests === kMaxRequests) throw error;
      await setTimeout(kPauseMs, undefined, { signal: hub.signal }).catch(() => hub.signal?.throwIfAborted());
    }
  }
  return hash.digest("hex");
}

/** The hash of what the partial file holds, and where to go on. */
async function resumePoint(handle: FileHandle, file: RemoteFile): Promise<{ hash: Hash; position: number }> {
  const { size } = await handle.stat();
  const hash = newHash(file);
  if (size > file.sizeBytes) {
    await handle.truncate(0);
    return { hash, position: 0 };
  }
  const buffer = Buffer.allocUnsafe(Math.min(kReadBytes, Math.max(1, size)));
  let position = 0;
  while (position < size) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, size - position), position);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
  return { hash, position };
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < bytes.length; )
    written += (await handle.write(bytes, written, bytes.length - written, position + written)).bytesWritten;
}

function newHash({ hash, sizeBytes }: RemoteFile): Hash {
  return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${sizeBytes}\0`);
}

/** As Python names it, so that either goes on where the other stopped. */
function partialPath({ cache, file }: Download): string {
  return `${cache.blobPath(file.hash)}.incomplete`;
}

async function hasBlob({ cache, file }: Download): Promise<boolean> {
  return (await sizeOf(cache.blobPath(file.hash))) === file.sizeBytes;
}

function wrongSize({ hub, file }: Download, received: string): LockstepError {
  return new LockstepError(
    "HUB_ERROR",
    `${hub.settings.endpoint}: Expected ${file.sizeBytes} bytes of ${file.name} but received ${received}`,
  );
}

function wrongHash({ hub, file }: Download): LockstepError {
  return new LockstepError(
    "HUB_ERROR",
    `${hub.settings.endpoint}: Expected ${file.name} with the hash ${file.hash} but received other bytes; they were thrown away`,
  );
}
