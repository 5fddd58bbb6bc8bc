/**
 * `lockstep generate MODEL [prompt]`: one prompt, one generation.
 *
 * Owns the command's options and output. Main thread; uses nothing of the package that a user could not. Must keep
 * stdout for the text or the JSON, and must print what exists when it is interrupted.
 */
import { type Command, Option } from "commander";
import type { Engine, Prompt, SamplingOptions } from "../index.js";
import { readStandardInput } from "./input.js";
import { addLoadOptions, addModel, type LoadFlags, loadEngine, loadOptionsOf } from "./model.js";
import { addSamplingOptions, SAMPLING_HELP, type SamplingFlags, samplingOf } from "./sampling-flags.js";
import { watchInterruption } from "./terminal.js";

interface GenerateFlags extends SamplingFlags, LoadFlags {
  prompt?: string;
  chat?: true;
  system?: string;
  thinking: boolean;
  logprobs?: true;
  json?: true;
}

const HELP = `
The prompt is continued as it stands, as engine.generate("...") does. An instruction-tuned model usually wants --chat,
which makes it a user message in the checkpoint's chat template. "-" reads the prompt from standard input, to the
letter but for one newline at its end.

${SAMPLING_HELP}

Ctrl-C ends the generation and prints what exists (with --json: finishReason "abort"); the exit code is then 130.`;

export function registerGenerate(program: Command): void {
  const command = addModel(program.command("generate"))
    .summary("continue a prompt")
    .description("Continues a prompt with a checkpoint and writes the text to standard output as it is made.")
    .argument("[prompt]", 'the prompt; "-" reads standard input')
    .option("-p, --prompt <text>", "the same, for a prompt that begins with a dash")
    .option("--chat", "send the prompt as a user message through the checkpoint's chat template")
    .addOption(
      new Option("--system <text>", "system message, with --chat (which it implies)").implies({ chat: true }),
    )
    .addOption(
      new Option("--no-thinking", "ask the template for no thinking (implies --chat)").implies({
        chat: true,
      }),
    );
  addLoadOptions(addSamplingOptions(command))
    .addOption(
      new Option("--logprobs", "report each token's log probabilities (implies --json)").implies({
        json: true,
      }),
    )
    .option("--json", "write one JSON object, the whole Generation, instead of text")
    .addHelpText("after", HELP)
    .action(generate);
}

async function generate(model: string, argument: string | undefined, flags: GenerateFlags, command: Command) {
  if (argument !== undefined && flags.prompt !== undefined)
    command.error("error: the prompt was given twice: as an argument and as --prompt");
  const given = flags.prompt ?? argument;
  if (given === undefined)
    command.error('error: no prompt: give one as an argument, or "-" to read standard input');
  const text = given === "-" ? await readStandardInput() : given;

  using interruption = watchInterruption();
  const { signal } = interruption;
  try {
    await using engine = await loadEngine(model, { ...loadOptionsOf(flags), signal });
    const prompt = promptOf(text, flags);
    const sampling = { ...samplingOf(flags), logprobs: flags.logprobs, signal };
    if (flags.json) process.stdout.write(`${JSON.stringify(await engine.generate(prompt, sampling))}\n`);
    else await writeText(engine, prompt, sampling);
  } catch (error) {
    if (error !== signal.reason) throw error; // an aborted load rejects with the reason, which is no failure
  }
  if (interruption.exitCode !== undefined) process.exitCode = interruption.exitCode;
}

/** The text as it comes; what came before a failure ends in a newline too. */
async function writeText(engine: Engine, prompt: Prompt, sampling: SamplingOptions): Promise<void> {
  let last = "\n"; // where nothing is made, nothing is written
  try {
    for await (const { text } of engine.stream(prompt, sampling)) {
      process.stdout.write(text);
      last = text || last;
    }
  } finally {
    if (!last.endsWith("\n")) process.stdout.write("\n");
  }
}

function promptOf(text: string, { chat, system, thinking }: GenerateFlags): Prompt {
  if (!chat) return { text };
  const user = { role: "user", content: text };
  const messages = system === undefined ? [user] : [{ role: "system", content: system }, user];
  return { messages, enableThinking: thinking ? undefined : false };
}
