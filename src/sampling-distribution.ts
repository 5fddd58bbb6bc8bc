/** samplingDistribution: the engine's own filters on logits of the caller's. Synchronous; runs native code. */
import { checkOptions, isList, reading, tokenIds } from "./check.js";
import { invalid, LockstepError } from "./errors.js";
import { forcedComputePath, native } from "./native.js";
import { checkSampling, type SamplingOptions } from "./options.js";

/** Tokens so far. Ids alone count as output: presence and frequency penalties look at the output only. */
export type TokenHistory = ArrayLike<number> | { prompt?: ArrayLike<number>; output?: ArrayLike<number> };

/**
 * The distribution that the engine would draw the next token from: probabilities [V], in float32, for `logits` [V].
 * Penalties and bias, temperature, topK, topP and minP apply as in generate(), with the same native code; defaults are
 * the engine's without a generation_config.json (temperature 1, filters off). At temperature 0 all lies on one token.
 * Throws INVALID_ARGUMENT, and NON_FINITE_LOGITS where a logit is NaN or infinite.
 */
export function samplingDistribution(
  logits: ArrayLike<number>,
  options?: SamplingOptions,
  history: TokenHistory = [],
): Float32Array {
  const values = reading("logits", () => checkLogits(logits));
  if (!values.every(Number.isFinite))
    throw new LockstepError(
      "NON_FINITE_LOGITS",
      "Expected finite numbers for logits but received NaN or infinity",
    );
  const vocabSize = values.length;
  const sampling = checkSampling(options, { vocabSize, defaults: { eosTokenIds: [] }, eosTokenIds: [] });
  const { prompt, output } = reading("history", () => checkHistory(history, vocabSize));
  const probabilities = native().samplingDistribution(values, sampling, prompt, output, forcedComputePath());
  if (Number.isNaN(probabilities[0]))
    throw new LockstepError(
      "INVALID_ARGUMENT",
      "Expected a token to be left to sample but logitBias and the stop ids that minTokens masks ban every one",
    );
  return probabilities;
}

const kMaxVocab = 2 ** 24;

function checkLogits(logits: unknown): Float32Array {
  if (!isList(logits)) throw invalid("a non-empty array or typed array of numbers", "logits", logits);
  const { length } = logits;
  if (length === 0) throw invalid("a non-empty array or typed array of numbers", "logits", logits);
  if (length > kMaxVocab) throw invalid(`at most ${kMaxVocab} numbers`, "logits", logits);
  const values = new Float32Array(length);
  for (let i = 0; i < length; ++i) {
    const logit = logits[i];
    if (typeof logit !== "number") throw invalid("a number", `logits[${i}]`, logit);
    values[i] = logit;
  }
  return values;
}

function checkHistory(history: unknown, vocabSize: number): { prompt: Int32Array; output: Int32Array } {
  const ids = tokenIds(vocabSize);
  const none = new Int32Array(0);
  if (isList(history)) return { prompt: none, output: ids(history, "history") };
  const given = checkOptions<{ prompt: Int32Array; output: Int32Array }>(history, "history", {
    prompt: ids,
    output: ids,
  });
  return { prompt: given.prompt ?? none, output: given.output ?? none };
}
