/** Calling what the caller passed: whatever it does, it settles here, with a value or a typed error. Main thread. */
import { invalid, LockstepError, messageOf } from "../errors.js";
import { onAbort } from "../signals.js";

/** What a call rejects with where nobody waits for it any more. */
export const kAbandoned = Symbol("abandoned");

/**
 * The result of `call`, which gets a signal; CALLBACK_FAILED where it throws, rejects or has not settled after `timeoutMs`;
 * kAbandoned once `abandoned` is aborted. What comes later is ignored.
 */
export function callWithin<T>(
  name: string,
  timeoutMs: number,
  abandoned: AbortSignal,
  call: (signal: AbortSignal) => T | PromiseLike<T>,
): Promise<T> {
  if (abandoned.aborted) return Promise.reject(kAbandoned);
  const controller = new AbortController();
  return new Promise<T>((resolve, reject) => {
    const end = (reason: unknown): void => {
      release();
      controller.abort(reason);
      reject(reason);
    };
    const forget = onAbort(abandoned, () => end(kAbandoned));
    // Keeps the process alive: a run that waits for a callback ends with this error, not by the process's end.
    const timer = setTimeout(() => end(tooLate(name, timeoutMs)), timeoutMs);
    const release = (): void => {
      clearTimeout(timer);
      forget();
    };
    new Promise<T>((settle) => settle(call(controller.signal))).then(
      (value) => {
        release();
        resolve(value);
      },
      (thrown) => {
        release();
        reject(failed(name, thrown));
      },
    );
  });
}

/** What `call` returns, which must be one of `allowed`, at once; throws otherwise. Nobody hears of a promise. */
export function answerOf<T>(name: string, expected: string, allowed: readonly T[], call: () => T): T {
  let answer: T;
  try {
    answer = call();
  } catch (thrown) {
    throw failed(name, thrown);
  }
  if (answer instanceof Promise) answer.catch(() => {});
  if (!allowed.includes(answer)) throw invalid(expected, `what ${name} returned`, answer);
  return answer;
}

/** The error of a callback that threw, or rejected. */
export function failed(name: string, thrown: unknown): LockstepError {
  const message = `Expected ${name} to return but it threw: ${messageOf(thrown)}`;
  return new LockstepError("CALLBACK_FAILED", message, { cause: thrown });
}

function tooLate(name: string, timeoutMs: number): LockstepError {
  return new LockstepError(
    "CALLBACK_FAILED",
    `Expected ${name} to settle within ${timeoutMs} ms (callbackTimeoutMs) but it has not`,
  );
}
