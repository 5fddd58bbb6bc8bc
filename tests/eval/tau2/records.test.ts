import { expect, it } from "vitest";
import { Records } from "../../../src/eval/tau2/records.js";
import { type Fields, int, Model, make } from "../../../src/python/models.js";

class Counter extends Model {
  declare count: bigint;
  static override fields: Fields = { count: int };
}

it("gives each environment its own copy of what it asks for, and shares the rest", () => {
  const base = new Map([
    ["b", make(Counter, { count: 1n })],
    ["a", make(Counter, { count: 2n })],
  ]);
  const [changed, untouched] = [new Records(base), new Records(base)];
  changed.get("a")!.count = 5n;
  expect(changed.get("a")!.count).toBe(5n);
  expect(base.get("a")!.count).toBe(2n);
  expect(changed.canonicalJson()).toBe('{"a": {"count": 5}, "b": {"count": 1}}');
  expect(untouched.canonicalJson()).toBe('{"a": {"count": 2}, "b": {"count": 1}}');
});

it("writes what was set and leaves out what was deleted", () => {
  const records = new Records([["a", make(Counter, { count: 1n })]]);
  records.set("0", make(Counter, { count: 3n }));
  records.delete("a");
  expect(records.canonicalJson()).toBe('{"0": {"count": 3}}');
});
