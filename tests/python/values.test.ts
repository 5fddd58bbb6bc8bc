// Python's values, as Python 3.11 and pydantic 2.13 show them. Each expectation is what those print.
import { describe, expect, it } from "vitest";
import { bindArguments } from "../../src/python/call.js";
import { dumps, loads } from "../../src/python/json.js";
import {
  bool,
  dictOf,
  enumeration,
  type Fields,
  float,
  int,
  listOf,
  literal,
  Model,
  make,
  modelOf,
  nullable,
  optionalField,
  str,
} from "../../src/python/models.js";
import * as operators from "../../src/python/operators.js";
import { fixed, floatRepr, repr, round, str as text } from "../../src/python/repr.js";
import { compareText, indent, splitLines, strip } from "../../src/python/text.js";
import { equals, PyDate, PyTuple, type PyValue } from "../../src/python/types.js";

describe("JSON", () => {
  it.each([
    ['{"a": 1, "b": [1.0, -0.0, 1e400], "c": {}}', '{"a": 1, "b": [1.0, -0.0, Infinity], "c": {}}'],
    ['{"2": 1, "1": 2, "2": 3}', '{"2": 3, "1": 2}'], // the order of insertion, the last value
    ["123456789012345678901234567890", "123456789012345678901234567890"],
    ["[NaN, -Infinity, 1E5, 1e16, 1e-5]", "[NaN, -Infinity, 100000.0, 1e+16, 1e-05]"],
    ['"é😀\\ud800\\u007f\\/"', '"\\u00e9\\ud83d\\ude00\\ud800\\u007f/"'],
  ])("%s", (given, written) => {
    expect(dumps(loads(given))).toBe(written);
  });

  it.each([
    ["", "Expecting value: line 1 column 1 (char 0)"],
    ["[1,]", "Expecting value: line 1 column 4 (char 3)"],
    ['{"a": 1,}', "Expecting property name enclosed in double quotes: line 1 column 9 (char 8)"],
    ['{"a" 1}', "Expecting ':' delimiter: line 1 column 6 (char 5)"],
    ["[1 2]", "Expecting ',' delimiter: line 1 column 4 (char 3)"],
    ["01", "Extra data: line 1 column 2 (char 1)"],
    ['"😀\n"', "Invalid control character at: line 1 column 3 (char 2)"],
    ['["a', "Unterminated string starting at: line 1 column 2 (char 1)"],
    ['"\\x"', "Invalid \\escape: line 1 column 2 (char 1)"],
    ['"\\u12g4"', "Invalid \\uXXXX escape: line 1 column 3 (char 2)"],
    ["\n\n [tru]", "Expecting value: line 3 column 3 (char 4)"],
  ])("%j is refused", (given, message) => {
    expect(() => loads(given)).toThrow(message);
  });

  it("sorts by code point and indents", () => {
    expect(dumps(loads('{"\uffff": 1, "😀": [], "a": [1]}'), { sortKeys: true, indent: 1 })).toBe(
      '{\n "a": [\n  1\n ],\n "\\uffff": 1,\n "\\ud83d\\ude00": []\n}',
    );
  });
});

describe("texts of values", () => {
  it.each<[PyValue, string]>([
    [[null, true, 1n, 1, 0.1, 1e16, 1e-5, Number.NaN], "[None, True, 1, 1.0, 0.1, 1e+16, 1e-05, nan]"],
    [PyTuple.from([1n]) as PyTuple, "(1,)"],
    [
      new Map<PyValue, PyValue>([
        ["it's", '"'],
        ["\u00a0\n\x1b", "é\u200b"],
      ]),
      "{\"it's\": '\"', '\\xa0\\n\\x1b': 'é\\u200b'}",
    ],
    [new PyDate("2025-01-15"), "datetime.date(2025, 1, 15)"],
    [new PyDate("2025-01-15 10:30:00"), "datetime.datetime(2025, 1, 15, 10, 30)"],
  ])("repr %#", (value, expected) => {
    expect(repr(value)).toBe(expected);
  });

  it.each([
    [2.675, "2.67", "2.67"],
    [0.125, "0.12", "0.12"],
    [-0.001, "-0.0", "-0.00"],
    [1e22, "1e+22", "10000000000000000000000.00"],
  ])("%d rounds on its exact value, ties to even", (value, rounded, shown) => {
    expect(floatRepr(round(value, 2))).toBe(rounded);
    expect(fixed(value, 2)).toBe(shown);
  });

  it("knows Python's white space and lines", () => {
    expect(strip("\x1c\u00a0\ufeff a\x85\u3000")).toBe("\ufeff a");
    expect(splitLines("a\r\nb\x0bc\x1dd\u2028\n")).toEqual(["a", "b", "c", "d", ""]);
    expect(indent("a\n \n\nb", "\t")).toBe("\ta\n \n\n\tb");
    expect(["\uffff", "😀", "a"].sort(compareText)).toEqual(["a", "\uffff", "😀"]);
  });
});

describe("operators", () => {
  const { add, atLeast, atMost, contains, iterate, len, lookUp, multiply, sorted, subscript, subtract, sum } =
    operators;
  it.each<[string, () => PyValue, PyValue | RegExp]>([
    ["1 + True", () => add(1n, true), 2n],
    ["1 + 1.0", () => add(1n, 1), 2],
    ["2**64 * 3", () => multiply(2n ** 64n, 3n), 55340232221128654848n],
    ["3 * 'ab'", () => multiply(3n, "ab"), "ababab"],
    ["sum([1, 2.5])", () => sum([1n, 2.5]), 3.5],
    ["sorted(['b', 'a'])", () => sorted(["b", "a"]), ["a", "b"]],
    ["'a' in ['a']", () => contains(["a"], "a"), true],
    ["1.0 in {1: 0}", () => contains(new Map([[1n, 0n]]) as never, 1), true],
    ["'abc'[-1]", () => subscript("abc", -1n), "c"],
    ["1 <= 10**400", () => atMost(1, 10n ** 400n), true],
    ["[1, 2] >= [1]", () => atLeast([1n, 2n], [1n]), true],
    ["1 + 'a'", () => add(1n, "a"), /^unsupported operand type\(s\) for \+: 'int' and 'str'$/],
    ["'a' + 1", () => add("a", 1n), /^can only concatenate str \(not "int"\) to str$/],
    ["None - 1", () => subtract(null, 1n), /^unsupported operand type\(s\) for -: 'NoneType' and 'int'$/],
    ["'a' * 1.5", () => multiply("a", 1.5), /^can't multiply sequence by non-int of type 'float'$/],
    ["'a' <= 1", () => atMost("a", 1n), /^'<=' not supported between instances of 'str' and 'int'$/],
    ["len(5)", () => len(5n), /^object of type 'int' has no len\(\)$/],
    ["for x in 5.0", () => iterate(5), /^'float' object is not iterable$/],
    ["[] in {}", () => contains(new Map(), []), /^unhashable type: 'list'$/],
    ["1 in 'a'", () => contains("a", 1n), /^'in <string>' requires string as left operand, not int$/],
    ["{}['a']", () => lookUp(new Map(), "a"), /^'a'$/],
    ["[1][1]", () => subscript([1n], 1n), /^list index out of range$/],
    ["None[0]", () => subscript(null, 0n), /^'NoneType' object is not subscriptable$/],
  ])("%s", (_what, body, expected) => {
    if (expected instanceof RegExp) expect(body).toThrow(expected);
    else expect(body()).toEqual(expected);
  });

  it("compares across int, float and bool, and by content", () => {
    expect(equals(1n, 1)).toBe(true);
    expect(equals(true, 1)).toBe(true);
    expect(equals(2n ** 53n + 1n, 2 ** 53)).toBe(false);
    expect(equals(Number.NaN, Number.NaN)).toBe(false);
    expect(equals([Number.NaN], [Number.NaN])).toBe(true); // one object in a container
    expect(equals([1n], PyTuple.from([1n]) as PyTuple)).toBe(false);
    expect(
      equals(
        new Map([
          ["a", 1n],
          ["b", 2n],
        ]),
        new Map([
          ["b", 2],
          ["a", 1],
        ]),
      ),
    ).toBe(true);
  });
});

describe("calls by name", () => {
  const bind = (
    given: Record<string, PyValue>,
    parameters: (string | { name: string; default: PyValue })[],
  ) => bindArguments("Kit.tool", parameters, new Map(Object.entries(given)));
  it("bind in the order of the parameters", () => {
    expect(bind({ b: null, a: 1n }, ["a", { name: "b", default: 5n }, { name: "c", default: 6n }])).toEqual([
      1n,
      null,
      6n,
    ]);
  });
  it.each<[Record<string, PyValue>, string]>([
    [{ a: 1n, x: 1n }, "Kit.tool() got an unexpected keyword argument 'x'"],
    [{ b: 1n, c: 1n }, "Kit.tool() missing 1 required positional argument: 'a'"],
    [{ c: 1n }, "Kit.tool() missing 2 required positional arguments: 'a' and 'b'"],
    [{}, "Kit.tool() missing 3 required positional arguments: 'a', 'b', and 'c'"],
    [{ self: 1n }, "Kit.tool() got multiple values for argument 'self'"],
  ])("%o is refused", (given, message) => {
    expect(() => bind(given, ["a", "b", "c"])).toThrow(message);
  });
});

class Inner extends Model {
  static override fields: Fields = { n: int };
}

class Outer extends Model {
  static override extra = "forbid" as const;
  static override fields: Fields = {
    name: str,
    count: optionalField(int, 7n),
    price: optionalField(nullable(float)),
    flag: optionalField(bool, false),
    kind: optionalField(literal("a", "b", "c"), "a"),
    size: optionalField(enumeration("s", "m"), "s"),
    inner: optionalField(nullable(modelOf(Inner))),
    list: optionalField(listOf(modelOf(Inner)), () => []),
    table: optionalField(dictOf(str, int), () => new Map()),
  };
}

describe("models", () => {
  const field = (value: Outer, name: string) => value.field(name);
  it.each<[Record<string, PyValue>, string, PyValue]>([
    [{}, "count", 7n],
    [{ count: 5 }, "count", 5n],
    [{ count: " 1_000 " }, "count", 1000n],
    [{ count: "-2.0" }, "count", -2n],
    [{ count: true }, "count", 1n],
    [{ price: 1n }, "price", 1],
    [{ price: "1e3" }, "price", 1000],
    [{ flag: "YES" }, "flag", true],
    [{ flag: 0 }, "flag", false],
    [{ table: new Map([["a", "3"]]) }, "table", new Map([["a", 3n]])],
  ])("take %o", (given, name, expected) => {
    expect(field(make(Outer, { name: "x", ...given }), name)).toEqual(expected);
  });

  const more = "For further information visit https://errors.pydantic.dev/2.13/v/";
  it.each<[Record<string, PyValue>, string]>([
    [
      { name: 5n },
      `name\n  Input should be a valid string [type=string_type, input_value=5, input_type=int]\n    ${more}string_type`,
    ],
    [
      { count: 1.5 },
      `count\n  Input should be a valid integer, got a number with a fractional part [type=int_from_float, input_value=1.5, input_type=float]\n    ${more}int_from_float`,
    ],
    [
      { count: "x" },
      `count\n  Input should be a valid integer, unable to parse string as an integer [type=int_parsing, input_value='x', input_type=str]\n    ${more}int_parsing`,
    ],
    [
      { price: [] },
      `price\n  Input should be a valid number [type=float_type, input_value=[], input_type=list]\n    ${more}float_type`,
    ],
    [
      { flag: "maybe" },
      `flag\n  Input should be a valid boolean, unable to interpret input [type=bool_parsing, input_value='maybe', input_type=str]\n    ${more}bool_parsing`,
    ],
    [
      { kind: null },
      `kind\n  Input should be 'a', 'b' or 'c' [type=literal_error, input_value=None, input_type=NoneType]\n    ${more}literal_error`,
    ],
    [
      { size: "l" },
      `size\n  Input should be 's' or 'm' [type=enum, input_value='l', input_type=str]\n    ${more}enum`,
    ],
    [
      { inner: "x" },
      `inner\n  Input should be a valid dictionary or instance of Inner [type=model_type, input_value='x', input_type=str]\n    ${more}model_type`,
    ],
    [
      { list: [new Map()] },
      `list.0.n\n  Field required [type=missing, input_value={}, input_type=dict]\n    ${more}missing`,
    ],
    [
      { zzz: "é".repeat(40) },
      `zzz\n  Extra inputs are not permitted [type=extra_forbidden, input_value='${"é".repeat(12)}...${"é".repeat(11)}', input_type=str]\n    ${more}extra_forbidden`,
    ],
  ])("refuse %o", (given, message) => {
    expect(() => make(Outer, { name: "x", ...given })).toThrow(`1 validation error for Outer\n${message}`);
  });

  it("name all that is wrong, in the order of the fields", () => {
    expect(() => make(Outer, { count: null, price: "x" })).toThrow(
      /^3 validation errors for Outer\nname\n[\s\S]*\ncount\n[\s\S]*\nprice\n/,
    );
  });

  it("are shown with their fields in the order of declaration, and copied deeply", () => {
    const inner = make(Inner, { n: 1n });
    const outer = make(Outer, { inner, name: "x" });
    expect(outer.field("inner")).toBe(inner); // an instance is taken as it is
    expect(operators.deepCopy(outer).field("inner")).not.toBe(inner);
    expect(repr(inner)).toBe("Inner(n=1)");
    expect(text(inner)).toBe("n=1");
    expect(dumps(outer)).toBe(
      '{"name": "x", "count": 7, "price": null, "flag": false, "kind": "a", "size": "s", "inner": {"n": 1}, "list": [], "table": {}}',
    );
  });
});
