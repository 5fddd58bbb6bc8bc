/**
 * Owns the shapes that cross between async-encoder.ts (main thread) and encode-worker.ts (worker thread).
 * Types only. Must hold nothing that structured clone cannot carry.
 */
import type { ErrorCode } from "../errors.js";

export interface EncoderData {
  directory: string;
  fingerprint: string;
}

export interface EncodeRequest {
  id: number;
  text: string;
}

export type EncodeReply =
  | { id: number; tokens: Int32Array; error?: undefined }
  | { id: number; tokens?: undefined; error: { code: ErrorCode; message: string } };
