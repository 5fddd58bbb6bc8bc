/**
 * Stop strings against a naive twin that sees the whole text at every step: where the text ends, which string ended it,
 * and that nothing is held back without need or shown too early.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StopMatcher } from "../../src/tokenizer/stop-strings.js";

/** The occurrence that ends first, of those the one that starts first; by looking at every end. */
function naive(text: string, stops: string[]): { start: number; end: number } | undefined {
  for (let end = 1; end <= text.length; ++end) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    if (ending.length > 0) return { start: end - Math.max(...ending.map((stop) => stop.length)), end };
  }
  return undefined;
}

/** How much of the text's end could begin a stop string. */
function heldBack(text: string, stops: string[]): number {
  for (let n = text.length; n > 0; --n) {
    if (stops.some((stop) => stop.length > n && stop.startsWith(text.slice(-n)))) return n;
  }
  return 0;
}

const letters = fc.stringMatching(/^[ab]{1,5}$/);

describe("the matcher", () => {
  it("does what the naive twin does, after every piece", () => {
    fc.assert(
      fc.property(
        fc.array(letters, { maxLength: 4 }),
        fc.array(fc.stringMatching(/^[abc]{0,6}$/), { maxLength: 12 }),
        fc.boolean(),
        (stops, pieces, includeStop) => {
          const matcher = new StopMatcher(stops, { includeStop });
          let fed = "";
          let shown = "";
          for (const piece of pieces) {
            fed += piece;
            const { emit, stop } = matcher.push(piece);
            shown += emit;
            const found = naive(fed, stops);
            expect(stop).toBe(found && fed.slice(found.start, found.end));
            const visible = found
              ? includeStop
                ? found.end
                : found.start
              : fed.length - heldBack(fed, stops);
            expect(shown).toBe(fed.slice(0, visible));
          }
          const found = naive(fed, stops);
          expect(shown + matcher.flush()).toBe(found ? shown : fed);
          expect(matcher.flush()).toBe("");
        },
      ),
      { numRuns: 3_000 },
    );
  });

  it("takes the occurrence that ends first, and the longest of those that end together", () => {
    expect(new StopMatcher(["abcde", "bcd"]).push("xabcde")).toEqual({ emit: "xa", stop: "bcd" });
    expect(new StopMatcher(["cd", "abcd"]).push("xabcde")).toEqual({ emit: "x", stop: "abcd" });
    expect(new StopMatcher(["\n\n", "\n"]).push("a\n\n")).toEqual({ emit: "a", stop: "\n" });
  });

  it("finds a stop string across pieces, and releases what turned out not to be one", () => {
    const matcher = new StopMatcher(["</end>"], { includeStop: true });
    expect(matcher.push("a</e")).toEqual({ emit: "a" });
    expect(matcher.push("x</")).toEqual({ emit: "</ex" });
    expect(matcher.push("end>tail")).toEqual({ emit: "</end>", stop: "</end>" });
    expect(matcher.push("more")).toEqual({ emit: "", stop: "</end>" });
    expect(matcher.stop).toBe("</end>");
    expect(matcher.flush()).toBe("");
  });

  it("refuses stop strings that cannot end a text", () => {
    for (const stops of ["a", [""], [1], ["\ud800"], [null], ["x".repeat(70_000)]])
      expect(() => new StopMatcher(stops as string[])).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
  });

  it("is linear where naive matchers are quadratic (R14)", () => {
    // 500 k units that always almost match 20,000 units of stop string, in pieces of one and in one piece.
    const stop = `${"a".repeat(20_000)}b`;
    const start = performance.now();
    const matcher = new StopMatcher([stop, `${"a".repeat(10_000)}c`]);
    let shown = matcher.push("a".repeat(250_000)).emit.length;
    for (let i = 0; i < 250_000; ++i) shown += matcher.push("a").emit.length;
    expect(shown).toBe(500_000 - 20_000);
    expect(matcher.push("c")).toMatchObject({ stop: `${"a".repeat(10_000)}c` });
    expect(performance.now() - start).toBeLessThan(5_000); // 10^10 comparisons would take far longer
  });
});
