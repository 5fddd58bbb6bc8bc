/**
 * What `model` of Engine.load is: a directory, or a Hub id whose files are then fetched. The one entry of this folder.
 * Main thread. Must let anything win that exists here, and must hand what is no Hub id on as it is: whoever opens it
 * says what is wrong with it.
 */
import { lstat } from "node:fs/promises";
import { resolve } from "node:path";
import { codeOf } from "../checkpoint/files.js";
import { invalid } from "../errors.js";
import { hubSettings } from "./settings.js";
import { type DownloadProgress, snapshot } from "./snapshot.js";

export interface ResolveOptions {
  /** Branch, tag or commit. Default "main". */
  revision?: string;
  onProgress?: (progress: DownloadProgress) => void;
  signal?: AbortSignal;
}

/** The directory with the checkpoint's files. */
export async function resolveModel(model: string, options: ResolveOptions = {}): Promise<string> {
  const { revision = "main", onProgress, signal } = options;
  if (!isHubId(model) || (await existsHere(model))) {
    if (options.revision !== undefined)
      throw invalid("a Hub id (owner/name) and no directory, since revision is given,", "model", model);
    // Absolute: the engine's worker reads it later, and the program may have changed its directory by then.
    return resolve(model);
  }
  if (!isRevision(revision)) throw invalid("a branch, a tag or a commit", "revision", revision);
  return snapshot({ id: model, revision, settings: hubSettings(), onProgress, signal });
}

/** `owner/name` by the Hub's rules. Of paths, only one of two plain parts looks the same. */
export function isHubId(model: string): boolean {
  const part = /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?$/;
  const parts = model.split("/");
  return parts.length === 2 && parts.every((text) => part.test(text) && !/--|\.\.|\.git$/.test(text));
}

/** It becomes a path below refs/, and part of an address. */
function isRevision(revision: string): boolean {
  const part = /^(?!\.{1,2}$)[A-Za-z0-9_.+@~^=-]+$/;
  return revision.length <= 255 && revision.split("/").every((text) => part.test(text));
}

async function existsHere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    return codeOf(error) !== "ENOENT" && codeOf(error) !== "ENOTDIR";
  }
}
