/**
 * `lockstep score MODEL [text]`: how likely a text is under a model.
 *
 * Owns the command's options and output. Main thread; uses nothing of the package that a user could not.
 */
import type { Command } from "commander";
import type { Score, Tokenizer } from "../index.js";
import { readStandardInput } from "./input.js";
import { addLoadOptions, addModel, type LoadFlags, loadEngine, loadOptionsOf } from "./model.js";
import { parseInteger } from "./numbers.js";
import { watchInterruption } from "./terminal.js";

interface ScoreFlags extends LoadFlags {
  topLogprobs?: number;
  from?: number;
  json?: true;
}

const HELP = `
The text is scored as it stands, special tokens in it recognised, none added. The first token has no log probability,
since nothing stands before it. Perplexity is exp(-logprob / tokens scored).

--top-logprobs writes a line for each token: its log probability, itself, and the likeliest tokens in its place.`;

export function registerScore(program: Command): void {
  const command = addModel(program.command("score"))
    .summary("log probability of a text")
    .description("Computes the log probability that a checkpoint gives a text, and its perplexity.")
    .argument("<text>", 'the text; "-" reads standard input')
    .option("--from <integer>", "first token scored (default: 0)", parseInteger)
    .option("--top-logprobs <integer>", "report this many of the likeliest tokens everywhere", parseInteger);
  addLoadOptions(command)
    .option("--json", "write one JSON object, the whole Score, instead of text")
    .addHelpText("after", HELP)
    .action(score);
}

async function score(model: string, argument: string, flags: ScoreFlags) {
  const text = argument === "-" ? await readStandardInput() : argument;
  using interruption = watchInterruption();
  const { signal } = interruption;
  try {
    await using engine = await loadEngine(model, { ...loadOptionsOf(flags), signal });
    const { topLogprobs, from } = flags;
    const result = await engine.score({ text }, { topLogprobs, from, signal });
    if (flags.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    else process.stdout.write(layOutTokens(result, engine.tokenizer) + layOutTotals(result));
  } catch (error) {
    if (error !== signal.reason) throw error; // the reason is the interruption's, no failure
  }
  if (interruption.exitCode !== undefined) process.exitCode = interruption.exitCode;
}

function layOutTotals({ tokens, logprobs }: Score): string {
  const scored = logprobs.filter((logprob) => logprob !== null);
  const total = scored.reduce((sum, logprob) => sum + logprob, 0);
  const perplexity = scored.length === 0 ? "none: no token was scored" : Math.exp(-total / scored.length);
  return [
    `logprob     ${total}`,
    `tokens      ${tokens.length} (${scored.length} scored)`,
    `perplexity  ${perplexity}\n`,
  ].join("\n");
}

/** One line per scored position, where `topLogprobs` were asked for. */
function layOutTokens({ tokens, from, logprobs, topLogprobs }: Score, tokenizer: Tokenizer): string {
  if (!topLogprobs) return "";
  const show = (token: number) => JSON.stringify(tokenizer.decode([token]));
  const digits = (logprob: number | null) => (logprob?.toFixed(4) ?? "-").padStart(9);
  return logprobs
    .map((logprob, row) => {
      const likeliest = (topLogprobs[row] ?? []).map((top) => `${show(top.token)} ${top.logprob.toFixed(4)}`);
      return `${digits(logprob)}  ${show(tokens[from + row]!)}  ${likeliest.join("  ")}`.trimEnd();
    })
    .concat("\n")
    .join("\n");
}
