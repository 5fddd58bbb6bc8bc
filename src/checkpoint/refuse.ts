/**
 * How this folder phrases a refusal: file, then tensor or key, then what was expected and what came.
 * Pure functions on the main thread. Must not read files.
 */
import { LockstepError } from "../errors.js";

/** The one error of a bad checkpoint: `/models/x/config.json: Expected …`. */
export function refuse(file: string, reason: string, cause?: unknown): LockstepError {
  return new LockstepError(
    "INVALID_CHECKPOINT",
    `${file}: ${reason}`,
    cause === undefined ? undefined : { cause },
  );
}

/** A name out of a file, safe to print: control characters escaped, the middle of a long one left out. */
export function quote(name: string): string {
  const short = name.length > 120 ? `${name.slice(0, 80)}…${name.slice(-30)}` : name;
  return `'${JSON.stringify(short).slice(1, -1)}'`;
}

/** A parsed value as a message shows it. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value instanceof Map) return `an object of ${value.size} keys`;
  if (Array.isArray(value)) {
    const flat = value.every((item) => typeof item !== "object");
    return flat && value.length <= 8
      ? `[${value.map((item) => describe(item)).join(", ")}]`
      : `an array of ${value.length}`;
  }
  return typeof value === "string" ? `${quote(value)} (string)` : String(value);
}
