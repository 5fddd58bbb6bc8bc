/** The strict JSON parser against JSON.parse: it agrees on what is sound, and refuses more. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type JsonValue, parseStrictJson } from "../../src/checkpoint/strict-json.js";
import { LockstepError } from "../../src/errors.js";

const parse = (text: string | Buffer, integersOnly = false) =>
  parseStrictJson(Buffer.from(text as string), "x.json", { integersOnly });

/** Maps back to objects. */
function plain(value: JsonValue): unknown {
  if (Array.isArray(value)) return value.map(plain);
  return value instanceof Map ? Object.fromEntries([...value].map(([k, v]) => [k, plain(v)])) : value;
}

describe("agrees with JSON.parse", () => {
  it("on any JSON value, whatever its spacing", () => {
    // noNullPrototype: JSON.parse makes plain objects; wellFormed: lone surrogates are refused, below.
    const values = fc.jsonValue({ maxDepth: 6, stringUnit: "grapheme" });
    fc.assert(
      fc.property(values, fc.constantFrom(undefined, 1, "\t", " \n"), (value, space) => {
        const text = JSON.stringify(value, null, space as string);
        expect(plain(parse(text))).toEqual(JSON.parse(text));
      }),
      { numRuns: 500 },
    );
  });

  it("on every prefix and single-byte change of a text: same value or a typed refusal", () => {
    const text = '{"a":[1,-2.5e+3,true,null],"b":{"c\\u00e9":"\\n\\"x"},"":0.1}';
    fc.assert(
      fc.property(
        fc.nat(text.length),
        fc.integer({ min: 0x20, max: 0x7e }),
        fc.boolean(),
        (at, byte, cut) => {
          const changed = cut
            ? text.slice(0, at)
            : text.slice(0, at) + String.fromCharCode(byte) + text.slice(at + 1);
          let ours: unknown;
          try {
            ours = plain(parse(changed));
          } catch (error) {
            expect(error).toBeInstanceOf(LockstepError);
            return;
          }
          expect(ours).toEqual(JSON.parse(changed));
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("keeps __proto__ a key", () => {
    const value = parse('{"__proto__":{"x":1},"constructor":2}') as Map<string, JsonValue>;
    expect([...value.keys()]).toEqual(["__proto__", "constructor"]);
  });
});

describe("refuses, with the place", () => {
  it.each([
    ['{"a":{"b":1,"b":2}}', /'b' \(in 'a'\) comes twice/],
    ['{"a":[1,{"b":NaN}]}', /received 'NaN' at byte 13 \(in 'a' > \[1\] > 'b'\)/],
    ['{"a":1e999}', /a finite number/],
    ['"\\ud800"', /lone surrogates/],
    ['"\\udc00\\ud800"', /lone surrogates/],
    ['"a\tb"', /raw control characters/],
    ['"a', /closing double quote/],
    ['"a\\', /closing double quote/],
    ["[1 2]", /',' or '\]'/],
    ['{"a" 1}', /':' after a key/],
    ["", /the end of the text/],
    ["1 1", /the end of the JSON text/],
    ["--1", /a JSON value/],
    ["\u00a01", /a JSON value/],
  ])("%s", (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });

  it("takes 64 levels and refuses 65, at any depth without a stack overflow", () => {
    expect(() => parse("[".repeat(64) + "]".repeat(64))).not.toThrow();
    for (const depth of [65, 10_000, 4_000_000]) expect(() => parse("[".repeat(depth))).toThrow(/64 levels/);
  });

  it("with integersOnly, anything but a plain non-negative integer below 2^53", () => {
    expect(parse("[0,9007199254740991]", true)).toEqual([0, Number.MAX_SAFE_INTEGER]);
    for (const text of ["-1", "-0", "1.0", "1e0", "9007199254740992", "00", "1a", `1${"0".repeat(5000)}`])
      expect(() => parse(text, true)).toThrow(/non-negative integer below 2\^53/);
  });
});

it("is linear: 32 times the text takes less than 256 times the time", () => {
  const time = (n: number) => {
    const text = Buffer.from(
      `{${Array.from({ length: n }, (_, i) => `"key${i}":[${i},"\\u0041"]`).join(",")}}`,
    );
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 5; i += 1) {
      const started = performance.now();
      parseStrictJson(text, "x.json");
      best = Math.min(best, performance.now() - started);
    }
    return best;
  };
  time(2000);
  expect(time(64_000)).toBeLessThan(256 * time(2000) + 5); // quadratic would be 1,024 times
});
