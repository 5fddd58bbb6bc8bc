/**
 * Owns the sampling options of the commands that make text (generate, chat): their flags, and what becomes of them.
 *
 * Pure. Must not know ranges or defaults: the engine's options own those, and its refusal names them.
 */
import { type Command, InvalidArgumentError } from "commander";
import type { SamplingOptions } from "../index.js";
import { parseInteger, parseNumber } from "./numbers.js";

export interface SamplingFlags {
  maxTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  seed?: number;
  stop?: string[];
  ignoreEos?: true;
}

export const SAMPLING_HELP =
  "Sampling options that are not given come from the checkpoint's generation_config.json.";

export function addSamplingOptions(command: Command): Command {
  return command
    .option(
      "-n, --max-tokens <integer>",
      "output tokens, at most (default: the rest of the context)",
      parseInteger,
    )
    .option("-t, --temperature <number>", "0 = greedy", parseNumber)
    .option("--top-k <integer>", "sample from the k most likely tokens; 0 = off", parseInteger)
    .option(
      "--top-p <number>",
      "sample from the most likely tokens up to this probability; 1 = off",
      parseNumber,
    )
    .option(
      "--min-p <number>",
      "sample from tokens at least this likely, relative to the likeliest; 0 = off",
      parseNumber,
    )
    .option(
      "--repetition-penalty <number>",
      "make tokens of the prompt and the output less likely; 1 = off",
      parseNumber,
    )
    .option("--presence-penalty <number>", "make tokens of the output less likely; 0 = off", parseNumber)
    .option("--frequency-penalty <number>", "the same, as often as they occur; 0 = off", parseNumber)
    .option(
      "--seed <integer>",
      "the same seed gives the same text (default: drawn, and reported by --json)",
      parseInteger,
    )
    .option("--stop <text>", "end the output at this text; may be given several times", collect)
    .option("--ignore-eos", "go on after the end-of-sequence token");
}

export function samplingOf(flags: SamplingFlags): SamplingOptions {
  const { maxTokens, temperature, topK, topP, minP, seed, stop, ignoreEos } = flags;
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = flags;
  return {
    ...{ maxTokens, temperature, topK, topP, minP, seed, stop, ignoreEos },
    ...{ repetitionPenalty, presencePenalty, frequencyPenalty },
  };
}

function collect(text: string, earlier: string[] = []): string[] {
  if (text === "") throw new InvalidArgumentError("Expected a text that is not empty.");
  return [...earlier, text];
}
