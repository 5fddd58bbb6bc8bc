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
  | "CALLBACK_FAILED" // a function that the caller passed, or a getter of theirs, threw
  | "ABORTED" // a call with mode "abort" ended a request that has no partial result
  | "QUEUE_FULL" // more requests open than maxQueue
  | "HUB_ERROR" // a Hub id could not be resolved or downloaded
  | "FILE_ERROR" // a file could not be read or written (no room, no permission, in use), or does not hold what it should
  | "OUT_OF_MEMORY"
  | "NON_FINITE_LOGITS" // the model produced NaN or infinity for this request
  | "ENGINE_ASLEEP" // what was asked for was given back by sleep()
  | "ENGINE_CLOSED"
  | "ENGINE_FAILED"; // a broken invariant: every open request is rejected with the cause

/** Characters; paths and names that a message quotes may be of any length. */
const kMaxMessage = 2000;
const kMaxPlace = 200;

/** The middle of a message beyond 2,000 characters is left out. */
export class LockstepError extends Error {
  override readonly name = "LockstepError";
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(cut(message, kMaxMessage), options);
  }

  /** What JSON.stringify takes: an Error's own message is not enumerable. */
  toJSON(): { name: string; code: ErrorCode; message: string } {
    return { name: this.name, code: this.code, message: this.message };
  }
}

/** Whether this package threw it. Never throws. */
export function isLockstepError(thrown: unknown): thrown is LockstepError {
  try {
    return thrown instanceof LockstepError;
  } catch {
    return false; // a revoked proxy
  }
}

/** How many errors of each code there were. */
export type ErrorCounts = { [code in ErrorCode]?: number };

export class ErrorTally {
  readonly #counts: ErrorCounts = {};

  /** Counts it, where it has a code, and gives it back to be thrown. */
  add<E>(error: E): E {
    if (isLockstepError(error)) this.#counts[error.code] = (this.#counts[error.code] ?? 0) + 1;
    return error;
  }

  counts(): ErrorCounts {
    return { ...this.#counts };
  }
}

/** What ended one request, as an error with a code. What we did not throw came out of a function that the caller passed. */
export function asLockstepError(thrown: unknown): LockstepError {
  if (isLockstepError(thrown)) return thrown;
  return new LockstepError(
    "CALLBACK_FAILED",
    `Expected the functions and getters passed with the request to return but one threw: ${messageOf(thrown)}`,
    { cause: thrown },
  );
}

/** What somebody else's code threw, as a message quotes it. Never throws. */
export function messageOf(thrown: unknown): string {
  try {
    const { message } = thrown as { message?: unknown };
    if (typeof message === "string") return message;
  } catch {
    // not even this can be read
  }
  return show(thrown);
}

/** At most `length` characters of `text`: the middle of a longer one is left out. */
function cut(text: string, length: number): string {
  if (text.length <= length) return text;
  const tail = Math.floor(length / 4);
  return `${text.slice(0, length - tail - 3)}...${text.slice(text.length - tail)}`;
}

/** A value as an error message shows it: short, and with its type where that is the surprise. Never throws. */
export function show(value: unknown): string {
  if (typeof value === "string") return `'${cut(value, 60)}' (string)`;
  if (typeof value === "bigint") return `${cut(String(value), 60)}n (bigint)`;
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  try {
    if (Array.isArray(value)) return `an array of length ${value.length}`;
    return `an object (${cut(String(value.constructor?.name ?? "no prototype"), 60)})`;
  } catch {
    return "an object"; // a revoked proxy, a getter that throws
  }
}

/** The refusal of a caller's value: `invalid("a number in [0, 2]", "temperature (0 = greedy)", "1")`. */
export function invalid(expected: string, where: string, received: unknown): LockstepError {
  return new LockstepError(
    "INVALID_ARGUMENT",
    `Expected ${expected} for ${cut(where, kMaxPlace)} but received ${show(received)}`,
  );
}

/** The refusal of `new`, where only a factory makes one. */
export function notConstructible(what: string, factory: string): LockstepError {
  return new LockstepError(
    "INVALID_ARGUMENT",
    `Expected ${factory} to make ${what} but received a call of its constructor`,
  );
}
