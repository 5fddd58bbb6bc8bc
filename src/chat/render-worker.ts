/**
 * Owns rendering inside the worker thread that async-renderer.ts starts: answers each { source, variables } with { text }
 * or { error }, in order.
 *
 * Worker thread only. Knows nothing of a checkpoint: a template comes with every request.
 */
import { parentPort } from "node:worker_threads";
import type { LockstepError } from "../errors.js";
import type { RenderReply, RenderRequest } from "./render-messages.js";
import { ChatTemplate, FULL } from "./template.js";

const port = parentPort;
if (!port) throw new Error("render-worker runs in a worker thread only");

let template: ChatTemplate | undefined; // the last one, compiled

port.on("message", ({ source, variables }: RenderRequest) => {
  if (template?.source !== source) template = new ChatTemplate(source);
  try {
    port.postMessage({ text: template.renderVariables(variables, FULL) } satisfies RenderReply);
  } catch (thrown) {
    const { code, message } = thrown as LockstepError; // it throws nothing else
    port.postMessage({ error: { code, message } } satisfies RenderReply);
  }
});
