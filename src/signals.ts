/**
 * One listener per AbortSignal, however many requests it ends: Node warns of a leak at the eleventh. Main thread.
 */
const callbacks = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `callback` when the signal is aborted, unless the returned function was called before. */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (!signal) return () => {};
  const waiting = callbacks.get(signal) ?? listen(signal);
  waiting.add(callback);
  return () => {
    if (waiting.delete(callback) && waiting.size === 0) stopListening(signal);
  };
}

const listeners = new WeakMap<AbortSignal, () => void>();

function listen(signal: AbortSignal): Set<() => void> {
  const waiting = new Set<() => void>();
  const listener = (): void => {
    stopListening(signal);
    for (const callback of waiting) callback();
  };
  callbacks.set(signal, waiting);
  listeners.set(signal, listener);
  signal.addEventListener("abort", listener, { once: true });
  return waiting;
}

function stopListening(signal: AbortSignal): void {
  const listener = listeners.get(signal);
  if (listener) signal.removeEventListener("abort", listener);
  callbacks.delete(signal);
  listeners.delete(signal);
}
