/** The fork-join pool: every item once, whatever the number of threads and however they are scheduled. */
import { expect, it } from "vitest";
import { native } from "./native.js";

it.each([1, 2, 3, 8, 32])("%i threads run every item of every job exactly once", (threads) => {
  expect(native.poolStress(threads, 20_000)).toBe(0);
});

it("pools come and go", () => {
  for (let i = 0; i < 200; i++) expect(native.poolStress(1 + (i % 6), i % 4)).toBe(0);
});
