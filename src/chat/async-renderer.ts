/**
 * Owns rendering conversations without blocking the event loop: on the calling thread what takes some milliseconds, else
 * in one worker thread, one conversation after the other.
 *
 * JS main thread (or a worker's). The render worker starts with the first conversation it is needed for, and lives until
 * close(). What could go wrong:
 * - nothing tells beforehand how long a template takes: it is tried here within BRIEF, and started anew in the worker
 *   when it exceeds that. Rendering changes nothing outside, so that is the same text;
 * - a template takes for ever: the worker's clock stops it, and should that fail, the worker is ended;
 * - the worker dies (out of memory, or killed): that conversation is rejected with a typed error, the next one gets a new
 *   worker;
 * - an idle worker keeps the process alive: it is ref'd only while something is pending.
 * Must not run where src/ is not compiled: the worker is a JavaScript file next to this one.
 */
import { Worker } from "node:worker_threads";
import { LockstepError } from "../errors.js";
import { turnIsOver } from "../turns.js";
import type { RenderReply, RenderRequest } from "./render-messages.js";
import { BRIEF, type ChatTemplate, exceeds, FULL, type Variables } from "./template.js";

/** Items and characters of a conversation, with its template, that is tried on the calling thread. */
const BRIEF_SIZE = 2 ** 14;
/** After which the worker is ended: its own clock, the time to start and to copy, and what its clock cannot interrupt. */
const WORKER_MS = FULL.milliseconds + 5_000;
/** Far above what MAX_STEPS lets a template keep. */
const WORKER_MEMORY_MB = 1_024;

interface Job {
  request: RenderRequest;
  resolve(text: string): void;
  reject(error: LockstepError): void;
}

export class AsyncRenderer {
  readonly #jobs: Job[] = []; // the first is in the worker
  #worker: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** What `template.renderVariables(variables.values, FULL)` gives: at once where that is quick. Throws or rejects alike. */
  render(template: ChatTemplate, { values, size }: Variables): string | Promise<string> {
    if (this.#closed) throw new LockstepError("ENGINE_CLOSED", "The renderer is closed");
    if (size + template.source.length <= BRIEF_SIZE && !turnIsOver()) {
      try {
        return template.renderVariables(values, BRIEF);
      } catch (error) {
        if (!exceeds(error)) throw error;
      }
    }
    return new Promise((resolve, reject) => {
      this.#jobs.push({ request: { source: template.source, variables: values }, resolve, reject });
      if (this.#jobs.length === 1) this.#next();
    });
  }

  /** Rejects what is pending and ends the worker. May be called twice. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { reject } of this.#jobs.splice(0))
      reject(
        new LockstepError("ENGINE_CLOSED", "The engine was closed while this conversation was rendered"),
      );
    await this.#end();
  }

  /** Hands the first job to the worker. */
  #next(): void {
    clearTimeout(this.#timer);
    const [job] = this.#jobs;
    if (!job) {
      this.#worker?.unref();
      return;
    }
    const worker = this.#start();
    worker.ref();
    worker.postMessage(job.request);
    this.#timer = setTimeout(
      () => this.#fail(worker, "TEMPLATE_ERROR", `it took more than ${WORKER_MS} ms`),
      WORKER_MS,
    );
  }

  #start(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(new URL("./render-worker.js", import.meta.url), {
      name: "lockstep-render",
      execArgv: [], // the parent's flags (loaders, --input-type, --inspect-brk) are not for this file
      resourceLimits: { maxOldGenerationSizeMb: WORKER_MEMORY_MB },
    });
    worker.on("message", ({ text, error }: RenderReply) => {
      if (this.#worker !== worker) return;
      const job = this.#jobs.shift();
      if (error) job?.reject(new LockstepError(error.code, error.message));
      else job?.resolve(text);
      this.#next();
    });
    worker.on("error", (cause: Error & { code?: string }) => {
      if (cause.code === "ERR_WORKER_OUT_OF_MEMORY")
        this.#fail(worker, "TEMPLATE_ERROR", `it took more than ${WORKER_MEMORY_MB} MB`, cause);
      else this.#fail(worker, "ENGINE_FAILED", `its thread failed: ${cause.message}`, cause);
    });
    worker.on("exit", (status) =>
      this.#fail(worker, "ENGINE_FAILED", `its thread ended with status ${status}`),
    );
    this.#worker = worker;
    return worker;
  }

  /** Rejects what `worker` has in hand and goes on with another; nothing if that has been done. */
  #fail(worker: Worker, code: "TEMPLATE_ERROR" | "ENGINE_FAILED", reason: string, cause?: Error): void {
    if (this.#worker !== worker) return;
    void this.#end();
    this.#jobs.shift()?.reject(new LockstepError(code, `The chat template failed: ${reason}`, { cause }));
    this.#next();
  }

  async #end(): Promise<void> {
    clearTimeout(this.#timer);
    const worker = this.#worker;
    this.#worker = undefined;
    worker?.unref();
    await worker?.terminate();
  }
}
