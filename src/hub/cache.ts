/**
 * One repository in the Hugging Face cache, as Python's huggingface_hub lays it out, so that both use the same files:
 *
 *     models--owner--name/refs/<revision>            the commit it was at
 *                         blobs/<hash>               a file's bytes; <hash>.incomplete while they arrive
 *                         snapshots/<commit>/<file>  link to ../../blobs/<hash>
 *                         .no_exist/<commit>/<file>  empty: the commit has no such file
 *
 * Main thread, asynchronous. Must not write outside that folder: revisions, file names and hashes were checked by
 * whoever calls. A blob without ".incomplete" is whole: it is only ever made by renaming.
 */
import { copyFile, mkdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { codeOf } from "../checkpoint/files.js";
import { LockstepError } from "../errors.js";
import { kConfig, kIndex, kOptional, kSingle, shardNames } from "./needed-files.js";

/**
 * complete: every file the readers would open is here or known not to exist in that commit. usable: the model is
 * here; whether a file that may be missing is missing in the repository too, nobody has asked. partial: neither.
 */
export type SnapshotState = "complete" | "usable" | "partial";

export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

export class RepoCache {
  readonly directory: string;

  constructor(cacheDirectory: string, id: string) {
    this.directory = join(cacheDirectory, `models--${id.replace("/", "--")}`);
  }

  snapshotPath(commit: string): string {
    return join(this.directory, "snapshots", commit);
  }

  filePath(commit: string, name: string): string {
    return join(this.snapshotPath(commit), name);
  }

  blobPath(hash: string): string {
    return join(this.directory, "blobs", hash);
  }

  async readRef(revision: string): Promise<string | undefined> {
    const text = await readFile(join(this.directory, "refs", revision), "utf8").catch(() => "");
    return isCommit(text.trim()) ? text.trim() : undefined;
  }

  async writeRef(revision: string, commit: string): Promise<void> {
    if ((await this.readRef(revision)) === commit) return;
    const path = join(this.directory, "refs", revision);
    await this.#replace(path, (temporary) => writeFile(temporary, commit));
  }

  async hasFile(commit: string, name: string): Promise<boolean> {
    return (await sizeOf(this.filePath(commit, name))) !== undefined;
  }

  async link(commit: string, name: string, hash: string): Promise<void> {
    const path = this.filePath(commit, name);
    const blob = this.blobPath(hash);
    await this.#replace(path, (temporary) =>
      // Some file systems have no links: a copy then, as the library does.
      symlink(relative(dirname(path), blob), temporary).catch(() => copyFile(blob, temporary)),
    );
  }

  async markAbsent(commit: string, name: string): Promise<void> {
    const path = this.#absentPath(commit, name);
    await onDisk(path, async () => {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, "");
    });
  }

  async state(commit: string): Promise<SnapshotState> {
    if (!(await this.hasFile(commit, kConfig))) return "partial";
    const hasIndex = await this.hasFile(commit, kIndex);
    const weights = hasIndex ? await shardNames(this.filePath(commit, kIndex)) : [kSingle];
    for (const name of weights) if (!(await this.hasFile(commit, name))) return "partial";
    for (const name of [...kOptional, kIndex])
      if (!(await this.hasFile(commit, name)) && (await sizeOf(this.#absentPath(commit, name))) === undefined)
        return "usable";
    return "complete";
  }

  #absentPath(commit: string, name: string): string {
    return join(this.directory, ".no_exist", commit, name);
  }

  /** Makes a file under a name of its own and moves it into place, so that readers see the old or the new one. */
  async #replace(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
    const temporary = `${path}.${process.pid}.${counter++}.tmp`;
    await onDisk(path, async () => {
      await mkdir(dirname(path), { recursive: true });
      try {
        await make(temporary);
        await rename(temporary, path);
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
    });
  }
}
let counter = 0;

/** Of a regular file, links followed; undefined where there is none. */
export async function sizeOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ? found.size : undefined;
}

/** Runs `work` on files of the cache; what the file system refuses becomes a HUB_ERROR that names `path`. */
export async function onDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof LockstepError) throw cause;
    throw new LockstepError("HUB_ERROR", `${path}: could not be written to the cache (${codeOf(cause)})`, {
      cause,
    });
  }
}
