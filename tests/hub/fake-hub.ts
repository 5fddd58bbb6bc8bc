/**
 * A Hub on 127.0.0.1: the revision and paths-info questions that @huggingface/hub asks, and resolve addresses with
 * ranges. As on the real one, large files redirect to another origin (here another port). Written from the Hub's
 * answers, not from our client. It records what it was asked and fails on demand.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  /** "revision", "paths-info", "resolve", or "cdn" for the other origin. */
  kind: string;
  /** Of a file. */
  name: string;
  range: string | undefined;
  authorization: string | undefined;
  sentBytes: number;
}

export interface Trouble {
  /** Cuts the connection after this many bytes of the file's body, `times` times, and not before `until` is true. */
  cut?: { name: string; afterBytes: number; times: number; until?: () => boolean };
  /** Stops sending after this many bytes, and never ends. */
  stall?: { name: string; afterBytes: number };
  ignoreRanges?: boolean;
  /** Answers these kinds with this status. */
  status?: { kinds: string[]; code: number };
  /** Never answers this kind. */
  hang?: string;
  /** Sends other bytes, as many, once. */
  corruptOnce?: string;
}

export class FakeHub {
  readonly asked: Asked[] = [];
  trouble: Trouble = {};
  commit = "0123456789abcdef0123456789abcdef01234567";
  readonly id = "acme/tiny-qwen3";
  readonly #servers: Server[] = [];
  endpoint = "";
  #cdn = "";

  /** `files`: the repository at every commit. Those named in `large` are in LFS. */
  constructor(
    readonly files: Map<string, Buffer>,
    readonly large: ReadonlySet<string>,
  ) {}

  async start(): Promise<this> {
    this.endpoint = await this.#listen((request, response) => void this.#hub(request, response));
    this.#cdn = await this.#listen((request, response) => {
      const name = decodeURIComponent(request.url!.slice(1));
      this.#send(this.#record("cdn", name, request), request, response);
    });
    return this;
  }

  async stop(): Promise<void> {
    for (const server of this.#servers.splice(0)) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** The requests for bytes of a file that were answered with some. */
  ranges(name: string): (string | undefined)[] {
    return this.asked.filter((one) => one.name === name && one.sentBytes > 0).map(({ range }) => range);
  }

  async #listen(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
    const server = createServer(handler);
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  #record(kind: string, name: string, { headers }: IncomingMessage): Asked {
    const { range, authorization } = headers;
    const asked = { kind, name, range, authorization, sentBytes: 0 };
    this.asked.push(asked);
    return asked;
  }

  async #hub(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url!, this.endpoint);
    const [, kind = "", name = ""] =
      new RegExp(`^/(?:api/models/)?${this.id}/(revision|paths-info|resolve)/(.*)$`).exec(pathname) ?? [];
    const [revision = "", path = ""] = name.split("/", 2).map(decodeURIComponent);
    const asked = this.#record(kind, path, request);
    const { status } = this.trouble;
    if (status?.kinds.includes(kind)) return void response.writeHead(status.code).end("no");
    if (this.trouble.hang === kind) return;
    if (kind === "" || !["main", "v1", this.commit].includes(revision))
      return void response.writeHead(404, { "x-error-code": "RevisionNotFound" }).end();
    if (kind === "revision") return json(response, { _id: "1", id: this.id, sha: this.commit, gated: false });
    if (kind === "paths-info") {
      let body = "";
      for await (const chunk of request) body += chunk;
      return json(response, this.#pathsInfo(JSON.parse(body).paths));
    }
    const content = this.files.get(path);
    if (content === undefined) return void response.writeHead(404, { "x-error-code": "EntryNotFound" }).end();
    response.setHeader("x-repo-commit", this.commit);
    if (!this.large.has(path)) return this.#send(asked, request, response);
    response.setHeader("x-linked-etag", `"${hashOf(content, true)}"`);
    response.setHeader("x-linked-size", content.length);
    response.writeHead(302, { location: `${this.#cdn}/${encodeURIComponent(path)}` }).end();
  }

  #pathsInfo(paths: string[]) {
    return paths.flatMap((path) => {
      const content = this.files.get(path);
      if (content === undefined) return [];
      const pointer = { type: "file", path, oid: "0".repeat(40), size: content.length };
      if (!this.large.has(path)) return [{ ...pointer, oid: hashOf(content, false) }];
      return [{ ...pointer, lfs: { oid: hashOf(content, true), size: content.length, pointerSize: 134 } }];
    });
  }

  #send(asked: Asked, request: IncomingMessage, response: ServerResponse): void {
    const { name } = asked;
    const { cut, stall, ignoreRanges, corruptOnce } = this.trouble;
    let content = this.files.get(name)!;
    if (corruptOnce === name) {
      content = Buffer.alloc(content.length, "x");
      this.trouble = {};
    }
    const begin = ignoreRanges ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    let body = content.subarray(begin);
    const headers: Record<string, string | number> = {
      etag: '"cdn-has-its-own"',
      "content-length": body.length,
    };
    if (begin > 0) headers["content-range"] = `bytes ${begin}-${content.length - 1}/${content.length}`;
    response.writeHead(begin > 0 ? 206 : 200, headers);
    const isCut = cut?.name === name && cut.times-- > 0;
    const isStalled = stall?.name === name;
    if (isCut) body = body.subarray(0, cut.afterBytes);
    if (isStalled) body = body.subarray(0, stall.afterBytes);
    asked.sentBytes = body.length;
    response.flushHeaders();
    response.write(body, () => {
      if (isCut) cutWhen(cut.until ?? (() => true), response);
      else if (!isStalled) response.end();
    });
  }
}

/** What has not been read when a connection breaks is lost, so a test that counts bytes says when they have arrived. */
function cutWhen(arrived: () => boolean, response: ServerResponse): void {
  const timer = setInterval(() => {
    if (!arrived() && !response.destroyed) return;
    clearInterval(timer);
    response.destroy();
  }, 5);
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}

/** A blob's name in the cache: SHA-256 in LFS, else git's blob hash. */
export function hashOf(content: Buffer, large: boolean): string {
  if (large) return createHash("sha256").update(content).digest("hex");
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}
