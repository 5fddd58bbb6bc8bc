/** The result of score(), from the engine's rows to what the caller reads. Main thread, in turns of the event loop. */
import type { RequestEvent } from "./connection.js";
import type { LockstepError } from "./errors.js";
import type { Scoring } from "./options.js";
import { type TokenLogprob, topLogprobsRow, type Usage } from "./stream.js";
import { mapInTurns } from "./turns.js";

/** One row per position in [from, tokens.length); the row of position 0 is null: nothing stands before it. */
export interface Score {
  /** The whole input. */
  tokens: number[];
  from: number;
  /** Log-softmax of the raw logits, of each token given those before it. */
  logprobs: (number | null)[];
  topLogprobs?: (TokenLogprob[] | null)[];
  /** Logprobs of the ids asked for, in their order. */
  tokenIdLogprobs?: (number[] | null)[];
  usage: Usage;
  /** Of the weights that computed it, all of it. */
  weightVersion: number;
  /** In an array result: why this element failed. */
  error?: LockstepError;
}

/** What came of it: an event of the engine, or an error without one. */
type Scored = Partial<RequestEvent> & Pick<RequestEvent, "weightVersion">;

export async function makeScore(
  tokens: Int32Array,
  scoring: Scoring,
  { scored: rows, cachedTokens = 0, error, weightVersion }: Scored,
): Promise<Score> {
  const logprobs = Array.from(rows?.logprobs ?? []);
  const ids = scoring.tokenIds.length;
  const withFirst = <T>(row: T[]): (T | null)[] => (scoring.from === 0 && !error ? [null, ...row] : row);
  const all = async <T>(row: (index: number) => T) =>
    withFirst(await mapInTurns(logprobs, (_, index) => row(index)));
  return {
    tokens: Array.from(tokens),
    from: scoring.from,
    logprobs: withFirst(logprobs),
    ...(scoring.topLogprobs > 0 && { topLogprobs: await all((index) => topLogprobsRow(rows!, index)) }),
    ...(ids > 0 && {
      tokenIdLogprobs: await all((index) =>
        Array.from(rows!.tokenIdLogprobs.subarray(index * ids, (index + 1) * ids)),
      ),
    }),
    usage: { promptTokens: tokens.length, completionTokens: 0, cachedTokens: Math.max(0, cachedTokens) },
    weightVersion,
    ...(error && { error }),
  };
}
