/** Runs the built command as a user's shell would: a child process, with pipes where a terminal could be. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
export const MODEL = fileURLToPath(new URL("../../examples/demo/model", import.meta.url));

export interface Outcome {
  code: number | null; // null: killed by a signal
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** Besides this process's own. */
  env?: Record<string, string>;
  /** Written to standard input, which is then closed. */
  input?: string | Uint8Array;
  /** Called with the child and what it has written to stdout so far, at each piece. */
  onOutput?: (child: ChildProcess, stdout: string) => void;
  onStart?: (child: ChildProcess) => void;
}

export function runCli(args: string[], { env, input, onOutput, onStart }: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...args], {
      stdio: "pipe",
      env: { ...process.env, ...env },
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      stdout += piece;
      onOutput?.(child, stdout);
    });
    child.stderr.setEncoding("utf8").on("data", (piece: string) => {
      stderr += piece;
    });
    child.stdin.on("error", () => {}); // a child that reads nothing may end first
    child.stdin.end(input);
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
    onStart?.(child);
  });
}
