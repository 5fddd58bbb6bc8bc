/**
 * A Hub id and a revision → a snapshot directory with every file that the readers open, fetched where it is missing.
 * Main thread. Must not touch the network where the cache has the answer and must not fetch weights before the index's
 * names and config.json have been checked.
 *
 * When the Hub is asked: never under HF_HUB_OFFLINE; not for a commit whose snapshot is complete (commits do not
 * change); otherwise once, for the commit that the branch or tag is at. If it cannot be asked, the commit that it was
 * at the last time is used, if its model is here.
 */
import { parseModelConfig } from "../checkpoint/config.js";
import { kMaxJsonBytes, readSmallFile } from "../checkpoint/files.js";
import { quote, refuse } from "../checkpoint/refuse.js";
import { parseStrictJsonObject } from "../checkpoint/strict-json.js";
import { LockstepError } from "../errors.js";
import { isCommit, RepoCache } from "./cache.js";
import { HubClient, type RemoteFile } from "./client.js";
import { download } from "./download.js";
import { kConfig, kIndex, kOptional, kSingle, shardNames } from "./needed-files.js";
import type { HubSettings } from "./settings.js";

export interface DownloadProgress {
  /** The one being fetched. */
  file: string;
  /** Of all files that this load fetches; what an earlier load left of them counts as loaded. */
  loadedBytes: number;
  totalBytes: number;
}

export interface SnapshotRequest {
  id: string;
  revision: string;
  settings: HubSettings;
  onProgress: ((progress: DownloadProgress) => void) | undefined;
  signal: AbortSignal | undefined;
}

/** Between two reports of one file. */
const kProgressEveryMs = 100;

export async function snapshot(request: SnapshotRequest): Promise<string> {
  const { id, revision, settings, signal } = request;
  const cache = new RepoCache(settings.cacheDirectory, id);
  const known = isCommit(revision) ? revision : await cache.readRef(revision);
  const state = known === undefined ? "partial" : await cache.state(known);
  const cached = known === undefined || state === "partial" ? undefined : cache.snapshotPath(known);
  if (settings.offline && cached !== undefined) return cached;
  if (settings.offline)
    throw new LockstepError(
      "HUB_ERROR",
      `Hub id '${id}' (revision '${revision}'): HF_HUB_OFFLINE is set and there is nothing complete in the cache at ${cache.directory}`,
    );

  const hub = new HubClient(settings, id, revision, cache.directory, signal);
  let plan: { commit: string; files: Map<string, RemoteFile> | undefined };
  try {
    plan = await ask(hub, cache, revision);
  } catch (error) {
    signal?.throwIfAborted();
    if (cached === undefined) throw error;
    return cached;
  }
  const { commit, files } = plan;
  if (files) await fetchMissing({ ...request, cache, hub, commit, files });
  if (!isCommit(revision)) await cache.writeRef(revision, commit);
  return cache.snapshotPath(commit);
}

/** The commit and, where its snapshot is not complete, which files it has of those whose names are known beforehand. */
async function ask(hub: HubClient, cache: RepoCache, revision: string) {
  const commit = isCommit(revision) ? revision : await hub.commit();
  if ((await cache.state(commit)) === "complete") return { commit, files: undefined };
  return { commit, files: await hub.find(commit, [kConfig, ...kOptional, kIndex, kSingle]) };
}

interface Fetch extends SnapshotRequest {
  cache: RepoCache;
  hub: HubClient;
  commit: string;
  files: Map<string, RemoteFile>;
}

async function fetchMissing(fetch: Fetch): Promise<void> {
  const { cache, commit, files, onProgress } = fetch;
  checkHasModel(fetch);
  const index = files.get(kIndex);
  // Small, and without it nobody knows how much there is to fetch: not reported.
  if (index) await fetchFile(fetch, index, () => {});
  const weights = index ? await findShards(fetch) : [files.get(kSingle)!];
  const small = [kConfig, ...kOptional].flatMap((name) => files.get(name) ?? []);
  const missing: RemoteFile[] = [];
  for (const file of [...small, ...weights])
    if (!(await cache.hasFile(commit, file.name))) missing.push(file);

  const totalBytes = missing.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let finishedBytes = 0;
  let reportedAt = Number.NEGATIVE_INFINITY;
  for (const file of missing) {
    if (weights.includes(file)) await checkConfig(cache.filePath(commit, kConfig));
    await fetchFile(fetch, file, (loadedBytes) => {
      const now = performance.now();
      if (loadedBytes < file.sizeBytes && now < reportedAt + kProgressEveryMs) return;
      reportedAt = now;
      onProgress?.({ file: file.name, loadedBytes: finishedBytes + loadedBytes, totalBytes });
    });
    finishedBytes += file.sizeBytes;
  }
  for (const name of [...kOptional, kIndex]) if (!files.has(name)) await cache.markAbsent(commit, name);
}

async function fetchFile(
  { cache, hub, commit, signal }: Fetch,
  file: RemoteFile,
  onBytes: (loadedBytes: number) => void,
): Promise<void> {
  signal?.throwIfAborted();
  if (!(await cache.hasFile(commit, file.name))) await download({ cache, hub, commit, file, onBytes });
}

/** Before anything is fetched: is there a model, and can the reader take its files? */
function checkHasModel({ id, revision, hub, files }: Fetch): void {
  const weights = files.has(kIndex) ? kIndex : kSingle;
  for (const name of [kConfig, weights])
    if (!files.has(name))
      throw new LockstepError(
        "MODEL_NOT_FOUND",
        `Hub id '${id}' (revision '${revision}'): Expected a Qwen3 checkpoint with ${kConfig} and ${kSingle} but the repository has no ${name}`,
      );
  for (const name of [kConfig, "generation_config.json", kIndex]) {
    const sizeBytes = files.get(name)?.sizeBytes ?? 0;
    if (sizeBytes > kMaxJsonBytes)
      throw refuse(
        `${hub.settings.endpoint}/${id}: ${name}`,
        `Expected at most ${kMaxJsonBytes} bytes but the file has ${sizeBytes}`,
      );
  }
}

async function findShards({ cache, hub, commit }: Fetch): Promise<RemoteFile[]> {
  const indexPath = cache.filePath(commit, kIndex);
  const names = await shardNames(indexPath);
  const found = await hub.find(commit, names);
  return names.map((name) => {
    const file = found.get(name);
    if (file) return file;
    throw refuse(indexPath, `names ${quote(name)}, which the repository does not have`);
  });
}

/** Refuses another family of models here, and not after its weights have been fetched. */
async function checkConfig(path: string): Promise<void> {
  parseModelConfig(parseStrictJsonObject(await readSmallFile(path), path), path);
}
