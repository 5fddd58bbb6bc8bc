/** samplingDistribution: the engine's own filters on logits of the caller's. Synchronous; runs native code. */
import { checkOptions, tokenIds } from "./check.js";
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
  const values = checkLogits(logits);
  if (!values.every(Number.isFinite))
    throw new LockstepError(
      "NON_FINITE_LOGITS",
      "Expected finite numbers for logits but received NaN or infinity",
    );
  const vocabSize = values.length;
  const sampling = checkSampling(options, { vocabSize, defaults: { eosTokenIds: [] }, eosTokenIds: [] });
  const ids = tokenIds(vocabSize);
  const isList = Array.isArray(history) || ArrayBuffer.isView(history);
  const { prompt, output } = isList
    ? { prompt: undefined, output: ids(history, "history") }
    : checkOptions<{ prompt: Int32Array; output: Int32Array }>(history, "history", {
        prompt: ids,
        output: ids,
      });
  const none = new Int32Array(0);
  const probabilities = native().samplingDistribution(
    values,
    sampling,
    prompt ?? none,
    output ?? none,
    forcedComputePath(),
  );
  if (Number.isNaN(probabilities[0]))
    throw new LockstepError(
      "INVALID_ARGUMENT",
      "Expected a token to be left to sample but logitBias bans every one",
    );
  return probabilities;
}

const kMaxVocab = 2 ** 24;

function checkLogits(logits: unknown): Float32Array {
  const isList = Array.isArray(logits) || (ArrayBuffer.isView(logits) && !(logits instanceof DataView));
  if (!isList || (logits as ArrayLike<number>).length === 0)
    throw invalid("a non-empty array or typed array of numbers", "logits", logits);
  if ((logits as ArrayLike<number>).length > kMaxVocab)
    throw invalid(`at most ${kMaxVocab} numbers`, "logits", logits);
  return Float32Array.from(logits as ArrayLike<number>, (logit: unknown, i) => {
    if (typeof logit !== "number") throw invalid("a number", `logits[${i}]`, logit);
    return logit;
  });
}
