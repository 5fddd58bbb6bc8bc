/**
 * Owns standard input while a person or a pipe talks line by line, and Ctrl-C meanwhile.
 *
 * Main thread. On a terminal readline edits the line, and only while a line is waited for: in between the terminal is
 * itself again, Ctrl-C is a signal, and what is typed waits in the terminal's buffer. Must not lose lines: of several
 * pasted at once, the later ones wait here.
 */
import { createInterface, type Interface } from "node:readline";

export class LineReader {
  readonly #interface: Interface;
  readonly #isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  readonly #onInterrupt: () => void;
  readonly #lines: string[] = [];
  #waiting: ((line: string | undefined) => void) | undefined;
  #ended = false;

  /** `onInterrupt` hears each Ctrl-C. `prompt` is shown on a terminal only. */
  constructor(prompt: string, onInterrupt: () => void) {
    this.#onInterrupt = onInterrupt;
    this.#interface = createInterface({
      input: process.stdin,
      ...(this.#isTerminal && { output: process.stdout }),
      terminal: this.#isTerminal,
      prompt,
    });
    this.#interface
      .on("line", (line) => this.#take(line))
      .on("close", () => this.#end())
      .on("SIGINT", onInterrupt); // the key, while readline has the terminal
    process.on("SIGINT", onInterrupt);
    this.#rest();
  }

  /** The next line; undefined at the end of the input. */
  next(): Promise<string | undefined> {
    if (this.#lines.length > 0) return Promise.resolve(this.#lines.shift());
    if (this.#ended) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#waiting = resolve;
      this.showPrompt();
    });
  }

  /** Shows the prompt again, with the line as far as it was typed. */
  showPrompt(): void {
    if (!this.#isTerminal) return;
    process.stdin.setRawMode(true);
    this.#interface.prompt(true); // reads on, too
  }

  /** No more lines; a next() that waits gets undefined. */
  close(): void {
    process.off("SIGINT", this.#onInterrupt);
    this.#lines.length = 0;
    this.#interface.close();
  }

  #take(line: string): void {
    if (!this.#waiting) {
      this.#lines.push(line);
      return;
    }
    this.#rest();
    this.#settle(line);
  }

  #end(): void {
    this.#ended = true;
    if (this.#isTerminal && this.#waiting) process.stdout.write("\n"); // behind the prompt
    this.#settle(undefined);
  }

  #settle(line: string | undefined): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(line);
  }

  /** Gives the terminal back until the next prompt. A pipe is read on: it may end meanwhile. */
  #rest(): void {
    if (!this.#isTerminal) return;
    process.stdin.setRawMode(false);
    this.#interface.pause();
  }
}
