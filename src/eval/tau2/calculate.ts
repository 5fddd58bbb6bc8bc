/** `calculate`, which airline and retail share: arithmetic text to a number of at most two decimals. */
import { evaluateToFloat } from "../../python/expression.js";
import { contains, iterate } from "../../python/operators.js";
import { floatRepr, round } from "../../python/repr.js";
import { type PyValue, typeError, valueError } from "../../python/types.js";
import { tool } from "./toolkit.js";

const ALLOWED = "0123456789+-*/(). ";

export const calculate = tool<unknown>(["expression"], (_kit, expression: PyValue) => {
  if (!iterate(expression).every((character) => contains(ALLOWED, character)))
    throw valueError("Invalid characters in expression");
  if (typeof expression !== "string") throw typeError("eval() arg 1 must be a string, bytes or code object");
  return floatRepr(round(evaluateToFloat(expression), 2));
});
