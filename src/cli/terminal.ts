/**
 * Owns the terminal around a command: the loading bar, Ctrl-C, and a stdout whose reader goes away.
 *
 * Main thread. Must write to stderr only, and nothing but text to what is not a terminal.
 */
import { SingleBar } from "cli-progress";
import { EXIT_BROKEN_PIPE, EXIT_INTERRUPTED } from "./failure.js";

/** Why a command was cut short, and the exit code to end with. */
export interface Interruption {
  readonly signal: AbortSignal;
  /** Undefined while nothing happened. */
  readonly exitCode: number | undefined;
  [Symbol.dispose](): void;
}

/** Aborts the signal at the first Ctrl-C, or when stdout's reader goes away. A second Ctrl-C ends the process at once. */
export function watchInterruption(): Interruption {
  const controller = new AbortController();
  let exitCode: number | undefined;
  const stop = (code: number) => {
    exitCode ??= code;
    controller.abort();
  };
  const onInterrupt = () => stop(EXIT_INTERRUPTED);
  const onOutputError = (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    stop(EXIT_BROKEN_PIPE);
  };
  process.once("SIGINT", onInterrupt);
  // Stays to the end: what is buffered for a broken pipe may fail after the command is done.
  process.stdout.on("error", onOutputError);
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode;
    },
    [Symbol.dispose]: () => void process.off("SIGINT", onInterrupt),
  };
}

export interface LoadingBar {
  update(progress: { loadedBytes: number; totalBytes: number; file?: string }): void;
  [Symbol.dispose](): void;
}

/** A bar on stderr where that is a terminal; otherwise nothing. */
export function loadingBar(): LoadingBar {
  if (!process.stderr.isTTY) return { update: () => {}, [Symbol.dispose]: () => {} };
  const bar = newBar("{task} [{bar}] {percentage}%");
  bar.start(1, 0, { task: "loading" });
  return {
    update({ loadedBytes, totalBytes, file }) {
      const task = file === undefined ? "loading" : "downloading"; // a shard's name would wrap the line
      if (totalBytes > 0) bar.update(loadedBytes / totalBytes, { task });
    },
    [Symbol.dispose]: () => bar.stop(),
  };
}

/** Counts `total` rounds of a task, in the same way. */
export function roundsBar(task: string, total: number): { increment(): void; [Symbol.dispose](): void } {
  if (!process.stderr.isTTY) return { increment: () => {}, [Symbol.dispose]: () => {} };
  const bar = newBar("{task} [{bar}] {value}/{total}");
  bar.start(total, 0, { task });
  return { increment: () => bar.increment(), [Symbol.dispose]: () => bar.stop() };
}

function newBar(format: string): SingleBar {
  return new SingleBar({
    format,
    clearOnComplete: true,
    gracefulExit: false, // the library's handler would swallow Ctrl-C
    linewrap: true, // it would switch wrapping off, and a second Ctrl-C would leave it so
  });
}
