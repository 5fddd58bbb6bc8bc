/**
 * The one error class of the package, the helpers that phrase refusals, and a tally of errors by code. No I/O, no native code.
 *
 * A message says what was expected, what came and where. `code` is for programs, `message` for people.
 */

export type ErrorCode =
  | "INVALID_ARGUMENT" // the caller passed something wrong; nothing native has run
  | "NOT_SUPPORTED" // a known option or feature that this build does not have
  | "MODEL_NOT_FOUND" // no checkpoint where the caller said it is
  | "INVALID_CHECKPOINT" // the checkpoint's files are malformed, or do not fit each other
  | "NO_TOKENIZER" // text was asked of a checkpoint without tokenizer files
  | "TEMPLATE_ERROR" // the chat template is missing, does not parse, or threw
  | "PROMPT_TOO_LONG" // the prompt can never fit the context or the KV cache
  | "CALLBACK_FAILED" // a function that the caller passed threw
  | "QUEUE_FULL" // more requests open than maxQueue
  | "HUB_ERROR" // a Hub id could not be resolved or downloaded
  | "OUT_OF_MEMORY"
  | "NON_FINITE_LOGITS" // the model produced NaN or infinity for this request
  | "ENGINE_CLOSED"
  | "ENGINE_FAILED"; // a broken invariant: every open request is rejected with the cause

export class LockstepError extends Error {
  override readonly name = "LockstepError";
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** How many errors of each code there were. */
export type ErrorCounts = { [code in ErrorCode]?: number };

export class ErrorTally {
  readonly #counts: ErrorCounts = {};

  /** Counts it, where it has a code, and gives it back to be thrown. */
  add<E>(error: E): E {
    if (error instanceof LockstepError) this.#counts[error.code] = (this.#counts[error.code] ?? 0) + 1;
    return error;
  }

  counts(): ErrorCounts {
    return { ...this.#counts };
  }
}

/** What was thrown, as an error with a code. */
export function asLockstepError(error: unknown): LockstepError {
  if (error instanceof LockstepError) return error;
  return new LockstepError("ENGINE_FAILED", String(error), { cause: error });
}

/** A value as an error message shows it: short, and with its type where that is the surprise. Never throws. */
export function show(value: unknown): string {
  if (typeof value === "string")
    return `'${value.length > 60 ? `${value.slice(0, 57)}...` : value}' (string)`;
  if (typeof value === "bigint") return `${value}n (bigint)`;
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  try {
    if (Array.isArray(value)) return `an array of length ${value.length}`;
    return `an object (${String(value.constructor?.name ?? "no prototype")})`;
  } catch {
    return "an object"; // a revoked proxy, a getter that throws
  }
}

/** The refusal of a caller's value: `invalid("a number in [0, 2]", "temperature (0 = greedy)", "1")`. */
export function invalid(expected: string, where: string, received: unknown): LockstepError {
  return new LockstepError(
    "INVALID_ARGUMENT",
    `Expected ${expected} for ${where} but received ${show(received)}`,
  );
}
