/**
 * Our merge loop against the definition of byte-pair encoding: merge the pair of lowest rank, the leftmost of equals,
 * until none is left. A queue with stale entries is easy to get subtly wrong; the twin is too slow to be wrong.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { Bpe } from "../../src/tokenizer/bpe.js";

type Merge = [string, string];

function naive(word: string, merges: Merge[]): string[] {
  const tokens = Array.from(word);
  for (;;) {
    let best = -1;
    let bestRank = Number.POSITIVE_INFINITY;
    for (let i = 0; i + 1 < tokens.length; ++i) {
      const rank = merges.findLastIndex(([a, b]) => a === tokens[i] && b === tokens[i + 1]);
      if (rank >= 0 && rank < bestRank) [best, bestRank] = [i, rank];
    }
    if (best < 0) return tokens;
    tokens.splice(best, 2, tokens[best]! + tokens[best + 1]!);
  }
}

function build(merges: Merge[]): Bpe {
  const tokens = [...new Set(["a", "b", "c", ...merges.flatMap(([l, r]) => [l, r, l + r])])];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const triples = merges.flatMap(([l, r]) => [l, r, l + r].map((token) => ids.get(token)!));
  return new Bpe(ids, tokens, Int32Array.from(triples));
}

/** Merges over a small alphabet, with chains: ranks come in any order, so a part may be merged after the whole. */
const someMerges = fc.array(
  fc.tuple(fc.stringMatching(/^[abc]{1,3}$/), fc.stringMatching(/^[abc]{1,3}$/)) as fc.Arbitrary<Merge>,
  { maxLength: 12 },
);

it("gives the naive loop's tokens", () => {
  fc.assert(
    fc.property(someMerges, fc.stringMatching(/^[abcd]{0,40}$/), (merges, word) => {
      const bpe = build(merges);
      expect(bpe.split(word)).toEqual(naive(word, merges)); // "d" is not in the vocabulary
      expect(bpe.split(word)).toEqual(naive(word, merges)); // from the cache
    }),
    { numRuns: 2_000 },
  );
});

it("gives the naive loop's tokens for runs of one character, where stale entries abound", () => {
  const merges: Merge[] = [
    ["aa", "a"],
    ["a", "a"],
    ["aa", "aa"],
    ["aaa", "aa"],
  ];
  for (let n = 0; n < 60; ++n)
    expect(build(merges).split("a".repeat(n))).toEqual(naive("a".repeat(n), merges));
});
