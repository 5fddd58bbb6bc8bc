/**
 * How Python prints and compares the values of a template: str(), repr() and == over @huggingface/jinja's run-time values.
 *
 * Pure. A number with an integer value is an int: whether a caller meant 1 or 1.0 is lost in JavaScript; only what a
 * template itself computed as a float is one.
 */

import { stringRepr } from "../python/repr.js";

/** A value at run time: what we use of the library's, whose types NodeNext cannot resolve. */
export interface Value {
  type: string;
  value: unknown;
}

/** `{{ value }}`: str(), and nothing for an undefined one. */
export function pythonText(value: Value): string {
  if (value.type === "UndefinedValue") return "";
  return value.type === "StringValue" ? (value.value as string) : pythonRepr(value);
}

/** repr(): what stands in a list or a dict. */
export function pythonRepr(value: Value): string {
  const { type, value: raw } = value;
  if (type === "NullValue") return "None";
  if (type === "UndefinedValue") return "Undefined";
  if (typeof raw === "boolean") return raw ? "True" : "False";
  if (typeof raw === "number") return numberRepr(raw, type === "FloatValue");
  if (typeof raw === "string") return stringRepr(raw);
  if (Array.isArray(raw)) {
    const items = raw.map((item: Value) => pythonRepr(item));
    if (type !== "TupleValue") return `[${items.join(", ")}]`;
    return items.length === 1 ? `(${items[0]},)` : `(${items.join(", ")})`;
  }
  if (raw instanceof Map) {
    const entries = [...(raw as Map<string, Value>)];
    return `{${entries.map(([key, item]) => `${stringRepr(key)}: ${pythonRepr(item)}`).join(", ")}}`;
  }
  throw new Error(`a ${type} has no text`);
}

/** Python's repr of a number: JavaScript's shortest digits, with an exponent below 1e-4 and of at least two digits. */
export function numberRepr(value: number, isFloat: boolean): string {
  const small = value !== 0 && Math.abs(value) < 1e-4;
  const large = isFloat && Math.abs(value) >= 1e16;
  const digits = small || large ? value.toExponential() : String(value);
  const exponent = digits.replace(/e([+-])(\d)$/, "e$10$2");
  return isFloat && /^-?\d+$/.test(exponent) ? `${Object.is(value, -0) ? "-0" : exponent}.0` : exponent;
}

/** Python's ==: by value, numbers and booleans with one another, nothing else across types. */
export function pythonEquals(a: Value, b: Value): boolean {
  const [left, right] = [comparable(a), comparable(b)];
  if (Array.isArray(left) && Array.isArray(right))
    return (
      (a.type === "TupleValue") === (b.type === "TupleValue") &&
      left.length === right.length &&
      left.every((item: Value, i) => pythonEquals(item, right[i] as Value))
    );
  if (left instanceof Map && right instanceof Map)
    return (
      left.size === right.size &&
      [...(left as Map<string, Value>)].every(([key, item]) => {
        const other = (right as Map<string, Value>).get(key);
        return other !== undefined && pythonEquals(item, other);
      })
    );
  return left === right;
}

const comparable = ({ type, value }: Value): unknown => {
  if (type === "NullValue") return null;
  if (type === "UndefinedValue") return undefined;
  return typeof value === "boolean" ? Number(value) : value;
};
