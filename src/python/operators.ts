/**
 * Python's operators and built-ins on values of any type, with the texts of their errors. Pure.
 *
 * Tools get what a model wrote, unchecked: where the original would have met `len(5)`, the port meets it here and gives the same text.
 */
import { repr } from "./repr.js";
import { compareText } from "./text.js";
import {
  equals,
  isNumeric,
  PyDate,
  type PyDict,
  PyError,
  PyObject,
  PyTuple,
  type PyValue,
  sameOrEqual,
  typeError,
  typeName,
} from "./types.js";

type Numeric = bigint | number | boolean;

/** len(value) */
export function len(value: PyValue): bigint {
  if (typeof value === "string") return BigInt([...value].length);
  if (Array.isArray(value)) return BigInt(value.length);
  if (value instanceof Map) return BigInt(value.size);
  throw typeError(`object of type '${typeName(value)}' has no len()`);
}

/** for … in value: characters, items, keys, or a model's (name, value) pairs. */
export function iterate(value: PyValue): PyValue[] {
  if (typeof value === "string") return [...value];
  if (Array.isArray(value)) return value;
  if (value instanceof Map) return [...value.keys()];
  if (value instanceof PyObject) return value.entries().map((entry) => PyTuple.from(entry) as PyTuple);
  throw typeError(`'${typeName(value)}' object is not iterable`);
}

/** What hash(value) raises for what cannot be a key. */
export function requireHashable(value: PyValue): void {
  if (value instanceof PyTuple) for (const item of value) requireHashable(item);
  else if (Array.isArray(value) || value instanceof Map || value instanceof PyObject)
    throw typeError(`unhashable type: '${typeName(value)}'`);
}

/** The key under which an equal key is in a Map: True and 1.0 are 1 there. */
export function dictKey(value: PyValue): PyValue {
  requireHashable(value);
  if (typeof value === "boolean") return BigInt(value);
  return typeof value === "number" && Number.isInteger(value) ? BigInt(value) : value;
}

/** item in container */
export function contains(container: PyValue, item: PyValue): boolean {
  if (container instanceof Map) {
    requireHashable(item);
    return container.has(item) || (isNumeric(item) && [...container.keys()].some((key) => equals(key, item)));
  }
  if (typeof container === "string") {
    if (typeof item !== "string")
      throw typeError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    return container.includes(item);
  }
  if (Array.isArray(container)) return container.some((one) => sameOrEqual(one, item));
  throw typeError(`argument of type '${typeName(container)}' is not iterable`);
}

/** dict[key]; KeyError shows the key's repr. */
export function lookUp<T extends PyValue>(dict: ReadonlyMap<PyValue, T>, key: PyValue): T {
  requireHashable(key);
  const value = dict.get(key);
  if (value === undefined) throw new PyError("KeyError", repr(key));
  return value;
}

/** value[index] where the type of value is not known. */
export function subscript(value: PyValue, index: PyValue): PyValue {
  if (value instanceof Map) return lookUp(value as PyDict, index);
  if (typeof value !== "string" && !Array.isArray(value))
    throw typeError(`'${typeName(value)}' object is not subscriptable`);
  const name = typeName(value) === "str" ? "string" : typeName(value);
  if (typeof index !== "bigint" && typeof index !== "boolean") {
    const got = name === "string" ? `, not '${typeName(index)}'` : `, not ${typeName(index)}`;
    throw typeError(`${name} indices must be integers${name === "string" ? "" : " or slices"}${got}`);
  }
  const items = typeof value === "string" ? [...value] : value;
  const at = Number(index);
  const item = items[at < 0 ? at + items.length : at];
  if (item === undefined) throw new PyError("IndexError", `${name} index out of range`);
  return item;
}

/** value.name: fields of models; what other types have is asked for by method(). */
export function attribute(value: PyValue, name: string): PyValue {
  const field = value instanceof PyObject ? value.field(name) : undefined;
  if (field === undefined) throw noAttribute(value, name);
  return field;
}

export const noAttribute = (value: PyValue, name: string) =>
  new PyError("AttributeError", `'${typeName(value)}' object has no attribute '${name}'`);

/** value as a str, where a method of str is called on it. */
export function strMethodOf(value: PyValue, method: string): string {
  if (typeof value !== "string") throw noAttribute(value, method);
  return value;
}

/** a + b; `operator` is what errors show. */
export function add(a: PyValue, b: PyValue, operator: "+" | "+=" = "+"): PyValue {
  if (isNumeric(a) && isNumeric(b))
    return arithmetic(
      a,
      b,
      (x, y) => x + y,
      (x, y) => x + y,
    );
  if (typeof a === "string" && typeof b === "string") return a + b;
  if (Array.isArray(a) && Array.isArray(b) && typeName(a) === typeName(b))
    return a instanceof PyTuple ? (PyTuple.from([...a, ...b]) as PyTuple) : [...a, ...b];
  if (typeof a === "string" || Array.isArray(a))
    throw typeError(`can only concatenate ${typeName(a)} (not "${typeName(b)}") to ${typeName(a)}`);
  throw unsupported(operator, a, b);
}

/** a - b */
export function subtract(a: PyValue, b: PyValue): bigint | number {
  if (isNumeric(a) && isNumeric(b))
    return arithmetic(
      a,
      b,
      (x, y) => x - y,
      (x, y) => x - y,
    );
  throw unsupported("-", a, b);
}

/** a * b */
export function multiply(a: PyValue, b: PyValue): PyValue {
  if (isNumeric(a) && isNumeric(b))
    return arithmetic(
      a,
      b,
      (x, y) => x * y,
      (x, y) => x * y,
    );
  const [sequence, count] = isSequence(a) ? [a, b] : [b, a];
  if (!isSequence(sequence)) throw unsupported("*", a, b);
  if (typeof count !== "bigint" && typeof count !== "boolean")
    throw typeError(`can't multiply sequence by non-int of type '${typeName(count)}'`);
  const times = Math.max(0, Number(count));
  if (typeof sequence === "string") return sequence.repeat(times);
  const items = Array.from({ length: times }, () => sequence).flat(1);
  return sequence instanceof PyTuple ? (PyTuple.from(items) as PyTuple) : items;
}

const isSequence = (value: PyValue) => typeof value === "string" || Array.isArray(value);

/** -a */
export function negate(a: PyValue): bigint | number {
  if (!isNumeric(a)) throw typeError(`bad operand type for unary -: '${typeName(a)}'`);
  return typeof a === "number" ? -a : -BigInt(a);
}

/** abs(a) */
export function abs(a: PyValue): bigint | number {
  if (!isNumeric(a)) throw typeError(`bad operand type for abs(): '${typeName(a)}'`);
  return lessThan(a, 0n) ? negate(a) : typeof a === "boolean" ? BigInt(a) : a;
}

/** sum(values): from int 0 on. */
export function sum(values: PyValue[]): PyValue {
  return values.reduce((total: PyValue, value) => add(total, value), 0n);
}

/** max(a, b): the first of equals. */
export function max(a: PyValue, b: PyValue): PyValue {
  return order(">", b, a) ? b : a;
}

export const lessThan = (a: PyValue, b: PyValue) => order("<", a, b);
export const atMost = (a: PyValue, b: PyValue) => order("<=", a, b);
export const greaterThan = (a: PyValue, b: PyValue) => order(">", a, b);
export const atLeast = (a: PyValue, b: PyValue) => order(">=", a, b);

type Order = "<" | "<=" | ">" | ">=";

function order(operator: Order, a: PyValue, b: PyValue): boolean {
  if (isNumeric(a) && isNumeric(b)) return holds(operator, numeric(a), numeric(b)); // exact between bigint and number; false for NaN
  if (typeof a === "string" && typeof b === "string") return holds(operator, compareText(a, b), 0);
  if (a instanceof PyDate && b instanceof PyDate && typeName(a) === typeName(b))
    return holds(operator, compareText(a.text, b.text), 0);
  if (Array.isArray(a) && Array.isArray(b) && typeName(a) === typeName(b)) {
    const i = a.findIndex((item, at) => at >= b.length || !equals(item, b[at]!));
    return i < 0 || i >= b.length ? holds(operator, a.length, b.length) : order(operator, a[i]!, b[i]!);
  }
  throw typeError(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

function holds(operator: Order, a: bigint | number, b: bigint | number): boolean {
  if (operator === "<") return a < b;
  if (operator === "<=") return a <= b;
  return operator === ">" ? a > b : a >= b;
}

/** sorted(values): stable. */
export function sorted(values: PyValue[]): PyValue[] {
  return [...values].sort((a, b) => (lessThan(a, b) ? -1 : lessThan(b, a) ? 1 : 0));
}

const numeric = (value: Numeric): bigint | number => (typeof value === "boolean" ? BigInt(value) : value);

function arithmetic(
  a: Numeric,
  b: Numeric,
  ofInts: (x: bigint, y: bigint) => bigint,
  ofFloats: (x: number, y: number) => number,
): bigint | number {
  const [x, y] = [numeric(a), numeric(b)];
  if (typeof x === "bigint" && typeof y === "bigint") return ofInts(x, y);
  return ofFloats(toFloat(x), toFloat(y));
}

/** float(value) of a number. */
export function toFloat(value: Numeric): number {
  const float = Number(value);
  if (typeof value === "bigint" && !Number.isFinite(float))
    throw new PyError("OverflowError", "int too large to convert to float");
  return float;
}

const unsupported = (operator: string, a: PyValue, b: PyValue) =>
  typeError(`unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);

/** copy.deepcopy(value) */
export function deepCopy<T extends PyValue>(value: T): T {
  if (Array.isArray(value))
    return (value instanceof PyTuple ? PyTuple.from(value, deepCopy) : value.map(deepCopy)) as T;
  if (value instanceof Map)
    return new Map([...(value as PyDict)].map(([key, item]) => [key, deepCopy(item)])) as unknown as T;
  if (!(value instanceof PyObject)) return value;
  const copy = Object.create(Object.getPrototypeOf(value));
  for (const [name, item] of value.entries()) copy[name] = deepCopy(item);
  return copy;
}
