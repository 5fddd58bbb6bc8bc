/** A conversation with the built command: a child whose standard input stays open, one pipe for each stream. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { MAIN, type Outcome } from "./run-cli.js";

export class Talk {
  stdout = "";
  stderr = "";
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Outcome>;
  readonly #watchers = new Set<() => void>();

  constructor(args: string[]) {
    this.child = spawn(process.execPath, [MAIN, ...args], { stdio: "pipe" });
    for (const name of ["stdout", "stderr"] as const)
      this.child[name].setEncoding("utf8").on("data", (piece: string) => {
        this[name] += piece;
        for (const watcher of this.#watchers) watcher();
      });
    this.child.stdin.on("error", () => {}); // a child that has ended reads no more
    this.ended = new Promise((resolve, reject) => {
      this.child.on("error", reject);
      this.child.on("close", (code) => resolve({ code, stdout: this.stdout, stderr: this.stderr }));
    });
  }

  say(line: string): void {
    this.child.stdin.write(`${line}\n`);
  }

  interrupt(): void {
    this.child.kill("SIGINT");
  }

  /** Resolves once `condition` holds; rejects where the child ends before. */
  async until(condition: (talk: Talk) => boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const watcher = () => {
        if (!condition(this)) return;
        this.#watchers.delete(watcher);
        resolve();
      };
      this.#watchers.add(watcher);
      void this.ended.then((outcome) => reject(new Error(`It ended: ${JSON.stringify(outcome)}`)));
      watcher();
    });
  }
}
