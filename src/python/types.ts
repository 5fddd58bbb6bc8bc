/**
 * Python's values in JavaScript, as far as tool-use benchmarks show them: what they are, what they are called, when they are equal.
 *
 * int is a bigint and float a number, so that 1 and 1.0 stay two things; None is null, a list an array, a dict a Map in the order of insertion. Pure.
 */

export type PyValue =
  | null
  | boolean
  | bigint
  | number
  | string
  | PyValue[]
  | PyTuple
  | PyDict
  | PyDate
  | PyObject;
export type PyDict = Map<PyValue, PyValue>;
/** Arguments by name: keys are always texts. */
export type PyArguments = Map<string, PyValue>;

export class PyTuple extends Array<PyValue> {
  static override get [Symbol.species]() {
    return Array;
  }
}

/** A date or datetime as str() shows it: `2025-01-15`, or `2025-01-15 10:30:00`. */
export class PyDate {
  constructor(readonly text: string) {}
  get isoformat(): string {
    return this.text.replace(" ", "T");
  }
}

/** An instance of a class: what operators must know of it. Models are such (models.ts). */
export abstract class PyObject {
  abstract get className(): string;
  /** Names and values of the fields, in the order of their declaration. */
  abstract entries(): [string, PyValue][];
  /** One field, or undefined where there is none of that name. */
  abstract field(name: string): PyValue | undefined;
}

/** An exception: `message` is str() of it, `type` the name of its class. */
export class PyError extends Error {
  constructor(
    readonly type: string,
    message: string,
  ) {
    super(message);
  }
}

export const valueError = (message: string) => new PyError("ValueError", message);
export const typeError = (message: string) => new PyError("TypeError", message);

/** type(value).__name__ */
export function typeName(value: PyValue): string {
  if (value === null) return "NoneType";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "bigint") return "int";
  if (typeof value === "number") return "float";
  if (typeof value === "string") return "str";
  if (value instanceof PyTuple) return "tuple";
  if (Array.isArray(value)) return "list";
  if (value instanceof Map) return "dict";
  if (value instanceof PyDate) return value.text.length > 10 ? "datetime" : "date";
  return value.className;
}

/** bool(value) */
export function truthy(value: PyValue): boolean {
  if (value === null || typeof value === "boolean") return value === true;
  if (typeof value === "bigint") return value !== 0n;
  if (typeof value === "number") return value !== 0; // bool(nan) is True, and NaN !== 0
  if (typeof value === "string" || Array.isArray(value)) return value.length > 0;
  return value instanceof Map ? value.size > 0 : true;
}

/** int, float or bool as a number to calculate with: True is 1. */
export function isNumeric(value: PyValue): value is bigint | number | boolean {
  return typeof value === "bigint" || typeof value === "number" || typeof value === "boolean";
}

/** a == b */
export function equals(a: PyValue, b: PyValue): boolean {
  if (a === b) return true;
  if (isNumeric(a) && isNumeric(b)) return equalNumbers(asInt(a), asInt(b));
  if (Array.isArray(a) && Array.isArray(b))
    return (
      a instanceof PyTuple === b instanceof PyTuple &&
      a.length === b.length &&
      a.every((item, i) => sameOrEqual(item, b[i]!))
    );
  if (a instanceof Map && b instanceof Map)
    return a.size === b.size && [...a].every(([key, item]) => sameEntry(b, key, item));
  if (a instanceof PyDate && b instanceof PyDate) return a.text === b.text;
  if (a instanceof PyObject && b instanceof PyObject) {
    const others = new Map(b.entries());
    return (
      a.constructor === b.constructor &&
      a.entries().every(([name, item]) => equals(item, others.get(name) ?? null))
    );
  }
  return false;
}

/** How containers compare their items: what is the same object is equal, and JSON's NaN is one object. */
export function sameOrEqual(a: PyValue, b: PyValue): boolean {
  return equals(a, b) || (Number.isNaN(a) && Number.isNaN(b));
}

/** Exact between a bigint and a number, and false for NaN. */
const equalNumbers = (a: bigint | number, b: bigint | number) => a <= b && a >= b;
const asInt = (value: bigint | number | boolean) => (typeof value === "boolean" ? BigInt(value) : value);

function sameEntry(dict: PyDict, key: PyValue, item: PyValue): boolean {
  const other = dict.get(key);
  return other !== undefined && sameOrEqual(item, other);
}
