/**
 * What Lockstep asks of the Hub: which commit a revision is, which of some files it has, and their bytes from a position
 * on. Questions go through @huggingface/hub, bytes through fetch (docs/decisions/0005 says why). Main thread; writes no
 * file. Must phrase every failure: a caller sees an aborted signal's reason or a LockstepError. Must send the token to
 * the endpoint alone: fetch drops it when a redirect leads to another origin.
 */
import { LockstepError } from "../errors.js";
import { isCommit } from "./cache.js";
import type { HubSettings } from "./settings.js";

export interface RemoteFile {
  name: string;
  sizeBytes: number;
  /** Of the content, and the blob's name: 64 hex digits are a SHA-256 (LFS), 40 a git blob's SHA-1. */
  hash: string;
}

/** The connection broke while bytes were coming; asking for the rest may help. */
export class ConnectionLost extends LockstepError {}

/** A question is one small answer; if it takes longer the network is not there. Downloads have fetch's own limits. */
const kQuestionTimeoutMs = 10_000;

export class HubClient {
  readonly #what: string;

  /** `cachePath`: where there is no whole copy, to say so when the Hub cannot be reached. */
  constructor(
    readonly settings: HubSettings,
    readonly id: string,
    readonly revision: string,
    readonly cachePath: string,
    readonly signal: AbortSignal | undefined,
  ) {
    this.#what = `Hub id '${id}' (revision '${revision}')`;
  }

  async commit(): Promise<string> {
    const { modelInfo } = await import("@huggingface/hub");
    const { sha } = await this.#ask((fetch) =>
      modelInfo({
        name: this.id,
        revision: this.revision,
        additionalFields: ["sha"],
        hubUrl: this.settings.endpoint,
        fetch,
      }),
    );
    if (typeof sha !== "string" || !isCommit(sha)) throw this.#malformed("no commit");
    return sha;
  }

  /** Those of `names` that the commit has. */
  async find(commit: string, names: readonly string[]): Promise<Map<string, RemoteFile>> {
    const { pathsInfo } = await import("@huggingface/hub");
    const found = new Map<string, RemoteFile>();
    const answer = await this.#ask((fetch) =>
      pathsInfo({
        repo: { type: "model", name: this.id },
        paths: [...names],
        revision: commit,
        hubUrl: this.settings.endpoint,
        fetch,
      }),
    );
    for (const { path: name, type, size, oid, lfs } of answer) {
      if (type !== "file" || !names.includes(name)) continue;
      const sizeBytes = lfs?.size ?? size;
      const hash = lfs?.oid ?? oid ?? "";
      const isHash = /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash);
      if (!isHash || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
        throw this.#malformed(`no size and hash of ${name}`);
      found.set(name, { name, sizeBytes, hash });
    }
    return found;
  }

  /** The bytes from `from` on; where the server does not do ranges, all of them (`from` is then 0 in the result). */
  async open(
    commit: string,
    { name }: RemoteFile,
    from: number,
  ): Promise<{ from: number; bytes: AsyncIterable<Uint8Array> }> {
    const url = `${this.settings.endpoint}/${this.id}/resolve/${commit}/${encodeURIComponent(name)}`;
    const headers = { "accept-encoding": "identity", ...(from > 0 && { range: `bytes=${from}-` }) };
    let response: Response;
    try {
      response = await this.#fetch(url, { headers }, this.signal);
    } catch (error) {
      throw this.#phrased(error);
    }
    const isRange = response.status === 206;
    const begins = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (response.ok && (!isRange || begins === String(from)))
      return { from: isRange ? from : 0, bytes: this.#read(name, response) };
    await response.body?.cancel();
    throw response.ok
      ? this.#malformed(`another range of ${name}`)
      : this.#refused(response.status, ` on ${name}`);
  }

  async *#read(name: string, { body }: Response): AsyncGenerator<Uint8Array> {
    try {
      if (body) yield* body;
    } catch (cause) {
      this.signal?.throwIfAborted();
      throw new ConnectionLost(
        "HUB_ERROR",
        `${this.#what}: the connection to ${this.settings.endpoint} was lost while ${name} was coming (${reasonOf(cause)}); what has come is kept, and the next load goes on from there`,
        { cause },
      );
    }
  }

  #fetch(url: string | URL | Request, init: RequestInit | undefined, signal: AbortSignal | undefined) {
    const headers = new Headers(init?.headers);
    // Set here and not by the library, which takes only tokens that begin with "hf_": mirrors have others.
    if (this.settings.token) headers.set("authorization", `Bearer ${this.settings.token}`);
    return fetch(url, { ...init, headers, ...(signal && { signal }) });
  }

  async #ask<T>(question: (fetchIt: typeof fetch) => Promise<T>): Promise<T> {
    const timeout = AbortSignal.timeout(kQuestionTimeoutMs);
    const signal = this.signal ? AbortSignal.any([this.signal, timeout]) : timeout;
    try {
      return await question((url, init) => this.#fetch(url, init, signal));
    } catch (error) {
      throw this.#phrased(error);
    }
  }

  /** What fetch or the library threw, as the caller shall see it. */
  #phrased(error: unknown): unknown {
    if (this.signal?.aborted) return this.signal.reason;
    const { statusCode, name } = error as { statusCode?: unknown; name?: unknown };
    if (typeof statusCode === "number") return this.#refused(statusCode, "", error);
    const isNetwork = name === "TimeoutError" || (error instanceof TypeError && error.cause !== undefined);
    if (!isNetwork) return this.#malformed(String(error), error);
    return new LockstepError(
      "HUB_ERROR",
      `${this.#what}: ${this.settings.endpoint} could not be reached (${reasonOf(error)}; offline?) and there is nothing complete in the cache at ${this.cachePath}`,
      { cause: error },
    );
  }

  #refused(status: number, where: string, cause?: unknown): LockstepError {
    const { endpoint, token } = this.settings;
    if (status === 404)
      return new LockstepError(
        "MODEL_NOT_FOUND",
        `There is no model '${this.id}' with a revision '${this.revision}' at ${endpoint} (404${where}), and no directory of this name here`,
        { cause },
      );
    const needsToken = token
      ? "the token in HF_TOKEN has no access to it"
      : "set HF_TOKEN to an access token of an account that may read it";
    // The Hub answers 401 for what does not exist, too, unless one is logged in.
    const reasons: Record<number, string> = {
      401: `it does not exist, or is private or gated: ${needsToken}`,
      403: `it is private or gated: ${needsToken}`,
      429: `too many requests${token ? "" : "; with HF_TOKEN set the Hub allows more"}: try again later`,
    };
    const reason = reasons[status] ?? "the server refuses or fails";
    return new LockstepError(
      "HUB_ERROR",
      `${this.#what}: ${endpoint} answered ${status}${where}: ${reason}`,
      { cause },
    );
  }

  #malformed(what: string, cause?: unknown): LockstepError {
    return new LockstepError(
      "HUB_ERROR",
      `${this.#what}: Expected an answer of the Hub's API from ${this.settings.endpoint} but received ${what}`,
      { cause },
    );
  }
}

/** "fetch failed" says nothing; its cause does. */
function reasonOf(error: unknown): string {
  for (let at: unknown = error; at instanceof Error; at = at.cause)
    if ("code" in at && typeof at.code === "string") return at.code;
  return error instanceof Error ? error.message : String(error);
}
