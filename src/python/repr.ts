/**
 * repr(), str() and the formats of numbers. Pure.
 *
 * Digits of floats are the shortest that round-trip, in both languages; what differs is where an exponent begins, and how a tie is rounded.
 */
import { PyDate, type PyDict, PyObject, PyTuple, type PyValue } from "./types.js";

/** repr(value) */
export function repr(value: PyValue): string {
  if (typeof value === "string") return stringRepr(value);
  if (Array.isArray(value)) {
    const items = value.map(repr);
    if (!(value instanceof PyTuple)) return `[${items.join(", ")}]`;
    return items.length === 1 ? `(${items[0]},)` : `(${items.join(", ")})`;
  }
  if (value instanceof Map)
    return `{${[...(value as PyDict)].map(([key, item]) => `${repr(key)}: ${repr(item)}`).join(", ")}}`;
  if (value instanceof PyObject) return `${value.className}(${fieldTexts(value).join(", ")})`;
  if (value instanceof PyDate) return dateRepr(value);
  return str(value);
}

/** str(value), which f-strings use */
export function str(value: PyValue): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return floatRepr(value);
  if (typeof value === "string") return value;
  if (value instanceof PyDate) return value.text;
  return value instanceof PyObject ? fieldTexts(value).join(" ") : repr(value);
}

const fieldTexts = (value: PyObject) => value.entries().map(([name, item]) => `${name}=${repr(item)}`);

function dateRepr({ text }: PyDate): string {
  const parts = text.match(/\d+/g)!.map(Number);
  if (parts.length > 3 && parts.at(-1) === 0) parts.pop(); // datetime leaves zero seconds out
  return `datetime.${text.length > 10 ? "datetime" : "date"}(${parts.join(", ")})`;
}

/** repr of a float: an exponent below 1e-4 and from 1e16 on, of at least two digits; ".0" where there is neither. */
export function floatRepr(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.0";
  const size = Math.abs(value);
  const scientific = size !== 0 && (size < 1e-4 || size >= 1e16);
  if (scientific) return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  const digits = String(value);
  return digits.includes(".") ? digits : `${digits}.0`;
}

/** repr of a str: in single quotes, unless there are such inside and no double ones. */
export function stringRepr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const named: Record<string, string> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  let inner = "";
  for (const character of text) {
    if (character === quote) inner += `\\${quote}`;
    else if (named[character] !== undefined) inner += named[character];
    else if (/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(character)) inner += escapeSequence(character);
    else inner += character;
  }
  return quote + inner + quote;
}

function escapeSequence(character: string): string {
  const code = character.codePointAt(0)!;
  const [prefix, width] = code < 0x100 ? ["\\x", 2] : code < 0x10000 ? ["\\u", 4] : ["\\U", 8];
  return prefix + code.toString(16).padStart(width as number, "0");
}

/** `"%.{digits}f" % value`: the exact binary value, ties to even. */
export function fixed(value: number, digits: number): string {
  if (!Number.isFinite(value)) return floatRepr(value);
  const [numerator, shift] = exactFraction(Math.abs(value));
  const scaled = numerator * 10n ** BigInt(digits);
  let quotient = scaled >> shift;
  const rest = scaled - (quotient << shift);
  const half = shift === 0n ? 1n : 1n << (shift - 1n); // with no fraction there is no rest
  if (rest > half || (rest === half && (quotient & 1n) === 1n)) quotient += 1n;
  const text = quotient.toString().padStart(digits + 1, "0");
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  return digits === 0 ? sign + text : `${sign}${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** round(value, digits) of a float: a float again. */
export function round(value: number, digits: number): number {
  return Number.isFinite(value) ? Number(fixed(value, digits)) : value;
}

/** A finite, non-negative double as numerator / 2^shift. */
function exactFraction(value: number): [bigint, bigint] {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const exponent = bits >> 52n;
  const mantissa = bits & 0xfffffffffffffn;
  const [significand, power] =
    exponent === 0n ? [mantissa, -1074n] : [mantissa | (1n << 52n), exponent - 1075n];
  return power >= 0n ? [significand << power, 0n] : [significand, -power];
}
