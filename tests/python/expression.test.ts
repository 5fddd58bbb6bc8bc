import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { calculate } from "../../src/eval/tau2/calculate.js";
import { evaluateToFloat } from "../../src/python/expression.js";
import { PyError, type PyValue } from "../../src/python/types.js";

const outcome = (body: () => PyValue) => {
  try {
    return body();
  } catch (error) {
    if (error instanceof PyError) return `Error: ${error.message}`;
    throw error;
  }
};

it.each([
  ["1 + 2*3 - 4/8", 6.5],
  ["-7//2", -4],
  ["-7.5//2", -4],
  ["2**-1**2", 0.5],
  ["-2**2", -4],
  ["(2**100)/(2**99)", 2],
  ["5.", 5],
  ["00 + .5", 0.5],
  ["9**9**9", "Error: int too large to convert to float"],
  ["10.0**400", "Error: (34, 'Numerical result out of range')"],
  ["(0-8)**0.5", "Error: float() argument must be a string or a real number, not 'complex'"],
  ["()", "Error: float() argument must be a string or a real number, not 'tuple'"],
  ["1 + ()", "Error: unsupported operand type(s) for +: 'int' and 'tuple'"],
  ["2(3+4)", "Error: 'int' object is not callable"],
  ["2(*3)", "Error: 2 argument after * must be an iterable, not int"],
  ["0**-1", "Error: 0.0 cannot be raised to a negative power"],
  ["1//0", "Error: integer division or modulo by zero"],
  ["1.0/0", "Error: float division by zero"],
  ["", "Error: invalid syntax (<string>, line 0)"],
  ["1+", "Error: invalid syntax (<string>, line 1)"],
  ["(1+", "Error: '(' was never closed (<string>, line 1)"],
  ["*(", "Error: invalid syntax (<string>, line 1)"],
  ["1)", "Error: unmatched ')' (<string>, line 1)"],
  ["(1 2)", "Error: invalid syntax. Perhaps you forgot a comma? (<string>, line 1)"],
  ["(*1)", "Error: cannot use starred expression here (<string>, line 1)"],
  [
    "010",
    "Error: leading zeros in decimal integer literals are not permitted; use an 0o prefix for octal integers (<string>, line 1)",
  ],
])("%s", (text, expected) => {
  expect(outcome(() => evaluateToFloat(text))).toBe(expected);
});

const golden = join(import.meta.dirname, "../../../shared/tau2/golden/vec_calculate.jsonl");

describe.skipIf(!existsSync(golden))("recorded calls of calculate (need ../shared)", () => {
  const records = !existsSync(golden) ? [] : readFileSync(golden, "utf8").trimEnd().split("\n");
  it.each(records.map((line) => JSON.parse(line)))("$args.expression", ({ args, content }) => {
    expect(outcome(() => calculate.run(null, args.expression))).toBe(content);
  });
});
