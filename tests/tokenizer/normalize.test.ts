/**
 * Sorting combining marks ourselves must be invisible: NFC of the sorted text is NFC of the text. And it must pay:
 * ICU alone is quadratic on these runs.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { orderLongMarkRuns } from "../../src/tokenizer/normalize.js";

/** Marks of several classes, of class 0 (CGJ, enclosing circle, Devanagari aa), and two that decompose. */
const mark = fc.constantFrom(
  ..."\u0301\u0323\u0334\u0345\u031b\u05b0\u064b\u093c\u034f\u20dd\u093e\u0344\u0f73\u3099\u{1d165}",
);
const run = fc.array(mark, { minLength: 130, maxLength: 200 }).map((marks) => marks.join(""));

it("does not change the normal form", () => {
  fc.assert(
    fc.property(fc.constantFrom("a", "\u1ec7", "\u304b", ""), run, fc.string(), (base, marks, rest) => {
      const text = base + marks + rest;
      expect(orderLongMarkRuns(text).normalize("NFC")).toBe(text.normalize("NFC"));
    }),
    { numRuns: 300 },
  );
});

it("leaves short runs alone and sorts long ones", () => {
  expect(orderLongMarkRuns("a\u0301\u0323")).toBe("a\u0301\u0323");
  const sorted = orderLongMarkRuns(`a${"\u0301\u0323".repeat(100)}`);
  expect(sorted).toBe(`a${"\u0323".repeat(100)}${"\u0301".repeat(100)}`);
});
