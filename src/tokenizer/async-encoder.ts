/**
 * Owns encoding without blocking the event loop: short texts at once, long ones and too many short ones in one worker
 * thread.
 *
 * JS main thread. The worker starts with the first text it is needed for, and lives until close(). What could go wrong:
 * - an idle worker keeps the process alive: it is unref'd whenever nothing is pending, ref'd while something is;
 * - the worker dies (out of memory, or killed): everything pending is rejected with a typed error, and the next
 *   text for it starts a new one;
 * - it answers for another tokenizer: see encode-worker.ts.
 * Must not run where src/ is not compiled: the worker is a JavaScript file next to this one.
 */
import { Worker } from "node:worker_threads";
import { invalid, LockstepError } from "../errors.js";
import { requireWellFormed } from "./text.js";
import type { Tokenizer } from "./tokenizer.js";
import type { EncodeReply, EncodeRequest, EncoderData } from "./worker-messages.js";

/** In UTF-16 units: up to about 2.5 ms of prose on the calling thread (0.57 ms per 1,000; 2 cores, Node 20, 2026-11). */
export const SYNCHRONOUS_LENGTH = 4_096;
/** All texts together that are encoded on the calling thread in one turn of the event loop. */
const SYNCHRONOUS_LENGTH_PER_TURN = 4 * SYNCHRONOUS_LENGTH;

interface Pending {
  resolve(tokens: Int32Array): void;
  reject(error: LockstepError): void;
}

export class AsyncEncoder {
  readonly #tokenizer: Tokenizer;
  readonly #data: EncoderData;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #lastId = 0;
  #turnLength = 0; // encoded on this thread in this turn of the event loop
  #closed = false;

  /** `directory`: where `tokenizer` was loaded from. */
  constructor(tokenizer: Tokenizer, directory: string) {
    this.#tokenizer = tokenizer;
    this.#data = { directory, fingerprint: tokenizer.fingerprint };
  }

  /** What `tokenizer.encode(text)` gives, or rejects with what it throws. */
  async encodeAsync(text: string): Promise<Int32Array> {
    if (this.#closed) throw new LockstepError("ENGINE_CLOSED", "The encoder is closed");
    if (typeof text !== "string") throw invalid("a string", "the text to encode", text);
    if (this.#takeTurn(text.length)) return Int32Array.from(this.#tokenizer.encode(text));
    requireWellFormed(text, "the text to encode");
    return new Promise((resolve, reject) => {
      const worker = this.#start();
      const id = ++this.#lastId;
      this.#pending.set(id, { resolve, reject });
      worker.ref();
      worker.postMessage({ id, text } satisfies EncodeRequest);
    });
  }

  /** Rejects what is pending and ends the worker. May be called twice. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#fail(
      worker,
      new LockstepError("ENGINE_CLOSED", "The encoder was closed while this text was encoded"),
    );
    await worker?.terminate();
  }

  /** Whether a text of this length is encoded on this thread. */
  #takeTurn(length: number): boolean {
    if (length > SYNCHRONOUS_LENGTH || this.#turnLength + length > SYNCHRONOUS_LENGTH_PER_TURN) return false;
    if (this.#turnLength === 0)
      setImmediate(() => {
        this.#turnLength = 0;
      });
    this.#turnLength += length;
    return true;
  }

  #start(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(new URL("./encode-worker.js", import.meta.url), {
      name: "lockstep-encode",
      workerData: this.#data,
      execArgv: [], // the parent's flags (loaders, --input-type, --inspect-brk) are not for this file
    });
    worker.unref();
    worker.on("message", (reply: EncodeReply) => this.#settle(worker, reply));
    worker.on("error", (cause: Error & { code?: string }) => {
      const code = cause.code === "ERR_WORKER_OUT_OF_MEMORY" ? "OUT_OF_MEMORY" : "ENGINE_FAILED";
      this.#fail(worker, new LockstepError(code, `The encoding thread failed: ${cause.message}`, { cause }));
    });
    worker.on("exit", (status) =>
      this.#fail(
        worker,
        new LockstepError("ENGINE_FAILED", `The encoding thread ended with status ${status}`),
      ),
    );
    this.#worker = worker;
    return worker;
  }

  #settle(worker: Worker, reply: EncodeReply): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) worker.unref();
    if (reply.tokens) pending?.resolve(reply.tokens);
    else pending?.reject(new LockstepError(reply.error.code, reply.error.message));
  }

  /** Forgets `worker` and rejects everything pending; nothing if another worker took its place. */
  #fail(worker: Worker | undefined, error: LockstepError): void {
    if (!worker || this.#worker !== worker) return;
    this.#worker = undefined;
    worker.unref();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(error);
  }
}
