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

it("names what differs from the shared records, and nothing that only was looked at", () => {
  const base = new Map([["a", make(Counter, { count: 1n })]]);
  const records = new Records(base);
  records.get("a");
  expect(records.changes()).toBe("");
  records.get("a")!.count = 2n;
  records.set("0", make(Counter, { count: 3n }));
  expect(records.changes()).toBe('0 {"count": 3}\na {"count": 2}');
  expect(records.canonicalJson()).toBe('{"0": {"count": 3}, "a": {"count": 2}}');
});
