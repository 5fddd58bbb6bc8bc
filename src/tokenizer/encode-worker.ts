/**
 * Owns encoding inside the worker thread that async-encoder.ts starts. Loads the tokenizer of the given directory once,
 * then answers each { id, text } with { id, tokens } or { id, error }.
 *
 * Worker thread only. Must not answer with another tokenizer's ids: if tokenizer.json is no longer the file that the
 * main thread loaded, every request gets that as its error.
 */
import { parentPort, workerData } from "node:worker_threads";
import { LockstepError } from "../errors.js";
import { Tokenizer } from "./tokenizer.js";
import type { EncodeReply, EncodeRequest, EncoderData } from "./worker-messages.js";

const { directory, fingerprint } = workerData as EncoderData;
const port = parentPort;
if (!port) throw new Error("encode-worker runs in a worker thread only");

const loading = load();
loading.catch(() => {}); // each request reports it

port.on("message", async ({ id, text }: EncodeRequest) => {
  try {
    const tokens = Int32Array.from((await loading).encode(text));
    port.postMessage({ id, tokens } satisfies EncodeReply, [tokens.buffer]);
  } catch (error) {
    const code = error instanceof LockstepError ? error.code : "ENGINE_FAILED";
    const message = error instanceof Error ? error.message : String(error);
    port.postMessage({ id, error: { code, message } } satisfies EncodeReply);
  }
});

async function load(): Promise<Tokenizer> {
  const tokenizer = await Tokenizer.fromDirectory(directory);
  if (tokenizer.fingerprint !== fingerprint)
    throw new LockstepError(
      "INVALID_CHECKPOINT",
      `'${directory}': tokenizer.json has changed since it was loaded`,
    );
  return tokenizer;
}
