import { expect, it } from "vitest";
import { parseCallText } from "../../src/python/call-text.js";
import { repr } from "../../src/python/repr.js";

it.each([
  ["f()", "{}"],
  [
    "f (a=1, b=1.0, c='x' \"y\", d=[-1, +2.5], e={'k': None}, g=(1,), h=(1), i=word)",
    "{'a': 1, 'b': 1.0, 'c': 'xy', 'd': [-1, 2.5], 'e': {'k': None}, 'g': (1,), 'h': 1, 'i': 'word'}",
  ],
  ["f(5., k=1.e5)", "{'k': 100000.0}"],
  ["f(k='5. of \\x41\\u00e9\\q')", "{'k': '5. of Aé\\\\q'}"],
  ["f(d={1: 'a', 1.0: 'b', True: 'c'})", "{'d': {1: 'c'}}"],
  ["f(a=1, a=2)", "{'a': 2}"],
  ["f(thanks)", "{}"], // positional arguments do not count
  ["f(this and that)", "{}"],
  ["f(e.g. this)", "{}"],
  ["f(a) (b=1)", "{'b': 1}"],
  ["f(a=1); g(b=2)", "{'a': 1}"],
  ["f(**{'a': 1})", "{None: {'a': 1}}"],
])("%s is a call", (text, expected) => {
  const call = parseCallText(text);
  expect(call?.name).toBe("f");
  expect(repr(call!.arguments)).toBe(expected);
});

it.each([
  "f(thank you)",
  "f(I'm sure)",
  "f(a=-inf)",
  "f(a=1, b)",
  "f(a=007)",
  "f(10am)",
  "f(a='\\x4')",
  "f(a={1, 2})",
  "f(a=f'x')",
  "f(a=x for x in y)",
  "f(— yes)",
  "f(a=1 # why)",
  "f(user id=1)",
  "f(from=1)",
  "f(a) + (b)",
  "a b(c)",
  "f-x(a=1)",
  "f(a\n=1)",
  "f(a=1).",
])("%s is none", (text) => {
  expect(parseCallText(text)).toBeUndefined();
});
