/**
 * Owns the shapes that cross between async-renderer.ts (main thread) and render-worker.ts (worker thread).
 * Types only. Must hold nothing that structured clone cannot carry.
 */
import type { ErrorCode } from "../errors.js";

export interface RenderRequest {
  source: string;
  variables: Record<string, unknown>;
}

export type RenderReply =
  | { text: string; error?: undefined }
  | { text?: undefined; error: { code: ErrorCode; message: string } };
