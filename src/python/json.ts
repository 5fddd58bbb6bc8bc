/**
 * Python's json.loads and json.dumps: 1 and 1.0 stay apart, NaN and Infinity are values, integers are exact, a key that comes twice has its last
 * value, a lone surrogate is one character. Pure; errors are PyError with JSONDecodeError's text.
 */
import { floatRepr } from "./repr.js";
import { compareText } from "./text.js";
import { PyDate, type PyDict, PyError, PyObject, type PyValue, typeError, typeName } from "./types.js";

/** json.loads(text) */
export function loads(text: string): PyValue {
  const reader = new Reader(text);
  if (text.startsWith("\ufeff")) throw reader.error("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0);
  const value = reader.value(reader.skipSpace(0));
  const end = reader.skipSpace(reader.at);
  if (end !== text.length) throw reader.error("Extra data", end);
  return value;
}

const NUMBER = /(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
const CONSTANTS: [string, PyValue][] = [
  ["null", null],
  ["true", true],
  ["false", false],
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
];
const ESCAPES: Record<string, string> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};
/** What Python's own recursion limit lets through, roughly; deeper it raises RecursionError too. */
const MAX_DEPTH = 990;

class Reader {
  at = 0; // behind the value read last
  #depth = 0;
  constructor(private readonly text: string) {}

  value(start: number): PyValue {
    const character = this.text[start];
    if (character === '"') return this.#string(start + 1);
    if (character === "{") return this.#nested(() => this.#object(start));
    if (character === "[") return this.#nested(() => this.#array(start));
    for (const [name, constant] of CONSTANTS)
      if (this.text.startsWith(name, start)) {
        this.at = start + name.length;
        return constant;
      }
    NUMBER.lastIndex = start;
    const match = NUMBER.exec(this.text);
    if (match === null) throw this.error("Expecting value", start);
    this.at = NUMBER.lastIndex;
    return match[2] === undefined && match[3] === undefined ? BigInt(match[0]) : Number(match[0]);
  }

  skipSpace(from: number): number {
    let i = from;
    while (i < this.text.length && " \t\n\r".includes(this.text[i]!)) i++;
    return i;
  }

  error(what: string, at: number): PyError {
    const before = this.text.slice(0, at);
    const line = before.split("\n").length;
    // Python counts code points
    const column = [...before.slice(before.lastIndexOf("\n") + 1)].length + 1;
    return new PyError(
      "JSONDecodeError",
      `${what}: line ${line} column ${column} (char ${[...before].length})`,
    );
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > MAX_DEPTH)
      throw new PyError("RecursionError", "maximum recursion depth exceeded while decoding a JSON object");
    const value = read();
    this.#depth--;
    return value;
  }

  #object(start: number): PyDict {
    const dict: PyDict = new Map();
    let i = this.skipSpace(start + 1);
    if (this.text[i] === "}") return this.#end(i, dict);
    for (;;) {
      if (this.text[i] !== '"') throw this.error("Expecting property name enclosed in double quotes", i);
      const key = this.#string(i + 1);
      i = this.skipSpace(this.at);
      if (this.text[i] !== ":") throw this.error("Expecting ':' delimiter", i);
      dict.set(key, this.value(this.skipSpace(i + 1)));
      i = this.skipSpace(this.at);
      if (this.text[i] === "}") return this.#end(i, dict);
      if (this.text[i] !== ",") throw this.error("Expecting ',' delimiter", i);
      i = this.skipSpace(i + 1);
    }
  }

  #array(start: number): PyValue[] {
    const list: PyValue[] = [];
    let i = this.skipSpace(start + 1);
    if (this.text[i] === "]") return this.#end(i, list);
    for (;;) {
      list.push(this.value(i));
      i = this.skipSpace(this.at);
      if (this.text[i] === "]") return this.#end(i, list);
      if (this.text[i] !== ",") throw this.error("Expecting ',' delimiter", i);
      i = this.skipSpace(i + 1);
    }
  }

  #end<T>(at: number, value: T): T {
    this.at = at + 1;
    return value;
  }

  /** `start` is behind the opening quote. */
  #string(start: number): string {
    let text = "";
    let i = start;
    for (;;) {
      const from = i;
      while (i < this.text.length && this.text[i] !== '"' && this.text[i] !== "\\" && this.text[i]! >= " ")
        i++;
      text += this.text.slice(from, i);
      const character = this.text[i];
      if (character === undefined) throw this.error("Unterminated string starting at", start - 1);
      if (character === '"') {
        this.at = i + 1;
        return text;
      }
      if (character !== "\\") throw this.error("Invalid control character at", i);
      const letter = this.text[i + 1];
      if (letter === undefined) throw this.error("Unterminated string starting at", start - 1);
      if (letter === "u") {
        const digits = this.text.slice(i + 2, i + 6);
        if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.error("Invalid \\uXXXX escape", i + 1);
        text += String.fromCharCode(Number.parseInt(digits, 16));
        i += 6;
      } else {
        if (!Object.hasOwn(ESCAPES, letter)) throw this.error("Invalid \\escape", i);
        text += ESCAPES[letter];
        i += 2;
      }
    }
  }
}

export interface DumpOptions {
  /** Spaces per level; without it, everything on one line. */
  indent?: number;
  sortKeys?: boolean;
  /** What NaN and the infinities are written as: Python's names, which are no JSON, or null. Default "names". */
  nonFinite?: "names" | "null";
}

/** json.dumps(value, default=str): ", " and ": ", everything outside printable ASCII escaped, floats as repr() shows them, dates as str(). */
export function dumps(value: PyValue, options: DumpOptions = {}): string {
  const { indent, sortKeys = false, nonFinite = "names" } = options;
  const write = (item: PyValue, margin: string): string => {
    if (item === null) return "null";
    if (typeof item === "boolean") return item ? "true" : "false";
    if (typeof item === "bigint") return item.toString();
    if (typeof item === "number")
      return nonFinite === "null" && !Number.isFinite(item) ? "null" : jsonFloat(item);
    if (typeof item === "string") return jsonString(item);
    if (item instanceof PyDate) return jsonString(item.text);
    const inner = indent === undefined ? "" : `${margin}${" ".repeat(indent)}`;
    if (Array.isArray(item))
      return bracket(
        "[]",
        item.map((one) => write(one, inner)),
        margin,
        inner,
      );
    const entries =
      item instanceof PyObject ? item.entries() : [...item].map(([key, one]) => [keyText(key), one] as const);
    const ordered = sortKeys ? [...entries].sort(([a], [b]) => compareText(a, b)) : entries;
    return bracket(
      "{}",
      ordered.map(([key, one]) => `${jsonString(key)}: ${write(one, inner)}`),
      margin,
      inner,
    );
  };
  const bracket = (pair: string, items: string[], margin: string, inner: string): string => {
    if (items.length === 0) return pair;
    if (indent === undefined) return `${pair[0]}${items.join(", ")}${pair[1]}`;
    return `${pair[0]}\n${inner}${items.join(`,\n${inner}`)}\n${margin}${pair[1]}`;
  };
  return write(value, "");
}

function keyText(key: PyValue): string {
  if (typeof key === "string") return key;
  if (key === null) return "null";
  if (typeof key === "boolean") return key ? "true" : "false";
  if (typeof key === "bigint") return key.toString();
  if (typeof key === "number") return jsonFloat(key);
  throw typeError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function jsonFloat(value: number): string {
  if (Number.isFinite(value)) return floatRepr(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
}

/** JSON.stringify escapes lone surrogates already; the rest outside printable ASCII is added. */
function jsonString(text: string): string {
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, escaped);
}
