/**
 * `lockstep chat MODEL`: a conversation, one line a turn.
 *
 * Owns the conversation, the commands and the output. Main thread; uses nothing of the package that a user could not.
 * Must outlive every failure of an answer: what went wrong goes to stderr, the turn is taken back, and the next line is
 * read. Must keep stdout for the answers.
 */
import type { Command } from "commander";
import type { ChatMessage, Engine, Generation, Prompt } from "../index.js";
import { reportFailure } from "./failure.js";
import { LineReader } from "./lines.js";
import { addLoadOptions, addModel, type LoadFlags, loadEngine, loadOptionsOf } from "./model.js";
import { addSamplingOptions, SAMPLING_HELP, type SamplingFlags, samplingOf } from "./sampling-flags.js";
import { watchInterruption } from "./terminal.js";

interface ChatFlags extends SamplingFlags, LoadFlags {
  system?: string;
  thinking: boolean;
  json?: true;
}

const COMMANDS = "/reset forgets the conversation, /exit or Ctrl-D ends, Ctrl-C stops an answer.";
const HELP = `
${COMMANDS}
A second Ctrl-C at the prompt ends, too. From a pipe each line is a message, and each answer ends in a newline.

${SAMPLING_HELP}`;

export function registerChat(program: Command): void {
  const command = addModel(program.command("chat"))
    .summary("talk to a model")
    .description("Talks to a checkpoint through its chat template; answers are written as they are made.")
    .option("--system <text>", "system message")
    .option("--no-thinking", "ask the template for no thinking");
  addLoadOptions(addSamplingOptions(command))
    .option("--json", "write each answer's Generation as a line of JSON instead of text")
    .addHelpText("after", HELP)
    .action(chat);
}

async function chat(model: string, flags: ChatFlags) {
  const interruption = watchInterruption(); // of the load; later, of an output that nobody reads any more
  const { signal } = interruption;
  try {
    await using engine = await loadEngine(model, { ...loadOptionsOf(flags), signal });
    await checkSampling(engine, flags);
    const session = new Session(engine, flags, signal);
    interruption[Symbol.dispose](); // from here on Ctrl-C is the session's
    await session.run();
  } catch (error) {
    if (error !== signal.reason) throw error; // an aborted load rejects with the reason, which is no failure
  }
  if (interruption.exitCode !== undefined) process.exitCode = interruption.exitCode;
}

class Session {
  readonly #engine: Engine;
  readonly #flags: ChatFlags;
  readonly #signal: AbortSignal;
  readonly #lines = new LineReader("> ", () => this.#interrupt());
  #history: ChatMessage[] = [];
  #answer: AbortController | undefined;
  #interrupts = 0; // at the prompt, since the last line

  /** `signal` ends the session. */
  constructor(engine: Engine, flags: ChatFlags, signal: AbortSignal) {
    this.#engine = engine;
    this.#flags = flags;
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#lines.close(), { once: true });
    this.#reset();
  }

  async run(): Promise<void> {
    if (process.stdin.isTTY) note(COMMANDS);
    for (let line = await this.#lines.next(); line !== undefined; line = await this.#lines.next()) {
      this.#interrupts = 0;
      const text = line.trim();
      if (text === "/exit") break;
      if (text === "/reset") this.#reset();
      else if (/^\/\w*$/.test(text)) note(`No command ${text}. ${COMMANDS}`);
      else if (text !== "") await this.#turn(line);
    }
    this.#lines.close();
  }

  #reset(): void {
    const { system } = this.#flags;
    this.#history = system === undefined ? [] : [{ role: "system", content: system }];
  }

  /** While an answer is made, it ends. At the prompt a second one in a row ends the session. */
  #interrupt(): void {
    if (this.#answer) {
      this.#answer.abort();
    } else if (++this.#interrupts > 1) {
      this.#lines.close();
    } else {
      note("\nCtrl-C again, Ctrl-D or /exit ends.");
      this.#lines.showPrompt();
    }
  }

  /** A message and its answer; neither stays where the answer failed. What exists of a stopped answer stays. */
  async #turn(message: string): Promise<void> {
    this.#history.push({ role: "user", content: message });
    this.#answer = new AbortController();
    try {
      const generation = await this.#write(AbortSignal.any([this.#answer.signal, this.#signal]));
      this.#history.push({ role: "assistant", content: generation.text });
      this.#explain(generation);
    } catch (error) {
      this.#history.pop();
      reportFailure(error);
      if ((error as { code?: unknown }).code === "PROMPT_TOO_LONG")
        note("The conversation no longer fits the context; /reset starts a new one.");
    } finally {
      this.#answer = undefined;
    }
  }

  /** Writes the answer as it is made. */
  async #write(signal: AbortSignal): Promise<Generation> {
    const sampling = { ...samplingOf(this.#flags), signal };
    let last = "";
    let result: Generation | undefined;
    try {
      for await (const { text, generation } of this.#engine.stream(this.#prompt(), sampling)) {
        if (!this.#flags.json) process.stdout.write(text);
        last = text || last;
        result = generation ?? result;
      }
    } finally {
      if (!this.#flags.json && !last.endsWith("\n")) process.stdout.write("\n");
    }
    if (this.#flags.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    return result!;
  }

  #prompt(): Prompt {
    return { messages: this.#history, enableThinking: this.#flags.thinking ? undefined : false };
  }

  /** Why an answer ended early, where that is not obvious. */
  #explain({ finishReason, usage }: Generation): void {
    if (finishReason === "abort") note("(stopped)");
    if (finishReason !== "length") return;
    const full = usage.promptTokens + usage.completionTokens >= this.#engine.maxContext;
    if (full)
      note(`The context of ${this.#engine.maxContext} tokens is full; /reset starts a new conversation.`);
    else note("(cut at --max-tokens)");
  }
}

/** Refuses wrong options before the conversation begins: a request that is aborted from the start is checked, not run. */
async function checkSampling(engine: Engine, flags: ChatFlags): Promise<void> {
  await engine.generate({ tokens: [0] }, { ...samplingOf(flags), signal: AbortSignal.abort() });
}

/** To the person, not to who reads the answers. */
function note(text: string): void {
  process.stderr.write(`${text}\n`);
}
