/** The prompts of a call: one, or an array of them; and refusals that say which one they are about. Pure. */
import { itemsOf, reading } from "./check.js";
import { isLockstepError, LockstepError } from "./errors.js";

/** More prompts than a call can mean: a longer array is refused before it is walked. */
const kMaxPrompts = 1_000_000;

/** A copy of an array of prompts; undefined for a single prompt. */
export function listOfPrompts(prompt: unknown): unknown[] | undefined {
  return reading("prompt", () =>
    Array.isArray(prompt) ? itemsOf(prompt, "prompt", kMaxPrompts, "prompts in a call") : undefined,
  );
}

/** What `body` refuses, after the place in the array of prompts; without an index, there is none. */
export function inElement<T>(index: number | undefined, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw ofElement(index, error);
  }
}

/** A refusal, after its place in the array of prompts. */
export function ofElement(index: number | undefined, error: unknown): unknown {
  if (index === undefined || !isLockstepError(error)) return error;
  return new LockstepError(error.code, `prompt[${index}]: ${error.message}`, { cause: error.cause });
}
