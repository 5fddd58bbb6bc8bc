/**
 * Owns what a failure looks like on the command line: one line on stderr, and an exit code.
 *
 * Main thread. Must not end the process: main.ts sets the exit code and Node ends by itself, so that output is flushed
 * and the engine's threads are joined.
 */
import { CommanderError } from "commander";

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_INTERRUPTED = 130; // 128 + SIGINT, as shells report it
export const EXIT_BROKEN_PIPE = 141; // 128 + SIGPIPE

/** Writes `error` where commander has not done so already, and gives its exit code. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  return reportFailure(error) === "INVALID_ARGUMENT" ? EXIT_USAGE : EXIT_FAILED;
}

/** Writes `error` as one line; returns its code, where it has one. */
export function reportFailure(error: unknown): string | undefined {
  const { message, code } =
    error instanceof Error ? (error as Error & { code?: unknown }) : { message: String(error) };
  const line = message.replace(/\s*[\r\n]+\s*/g, " ");
  const known = typeof code === "string" ? code : undefined;
  process.stderr.write(`error: ${line}${known === undefined ? "" : ` (${known})`}\n`);
  return known;
}
