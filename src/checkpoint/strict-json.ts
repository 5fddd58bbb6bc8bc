/**
 * A strict JSON parser over bytes, for files that strangers wrote: config.json, the shard index, safetensors headers.
 * It refuses what JSON.parse lets through: duplicate keys (JSON.parse keeps the last, other readers the first: two
 * programs would then load two models), lone surrogates, numbers that overflow to infinity, invalid UTF-8.
 * Main thread, synchronous, linear time. Must not do I/O.
 *
 * What could go wrong if…
 * - the input nests 10,000 deep: recursion stops at kMaxDepth with a typed error, long before the stack does.
 * - it holds ten million tiny values: each costs tens of bytes of heap, so their number is capped (kMaxValues).
 * - a key is `__proto__`: objects are Maps, so it is a key like any other.
 */
import { isUtf8 } from "node:buffer";
import { quote, refuse } from "./refuse.js";

export type JsonValue = null | boolean | number | string | JsonValue[] | Map<string, JsonValue>;
export type JsonObject = Map<string, JsonValue>;

const kMaxDepth = 64;
/** A Qwen3 of 1,024 layers, the most config.ts takes, has 11,267 tensors of 12 keys and values: 170,000 with weights. */
const kMaxValues = 1 << 18;
/** An empty Map takes 230 bytes (Node 20), other values up to 60. */
const kObjectWeight = 4;

export interface StrictJsonOptions {
  /** Every number must be a non-negative integer below 2^53, written without sign, point or exponent. */
  integersOnly?: boolean;
}

/** Parses a whole file. `file` is named in the errors, with the byte and the path of keys that led there. */
export function parseStrictJson(bytes: Buffer, file: string, options: StrictJsonOptions = {}): JsonValue {
  if (!isUtf8(bytes)) throw refuse(file, "Expected JSON in UTF-8 but the bytes are not valid UTF-8");
  return new Parser(bytes, file, options.integersOnly ?? false).document();
}

/** The same, for the files whose top level must be an object. */
export function parseStrictJsonObject(bytes: Buffer, file: string, options?: StrictJsonOptions): JsonObject {
  const value = parseStrictJson(bytes, file, options);
  if (value instanceof Map) return value;
  throw refuse(
    file,
    `Expected a JSON object but received ${Array.isArray(value) ? "an array" : String(value)}`,
  );
}

const kTab = 0x09;
const kLf = 0x0a;
const kCr = 0x0d;
const kSpace = 0x20;
const kQuote = 0x22;
const kComma = 0x2c;
const kColon = 0x3a;
const kBackslash = 0x5c;
const kOpenArray = 0x5b;
const kCloseArray = 0x5d;
const kOpenObject = 0x7b;
const kCloseObject = 0x7d;

const kNumber = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const kInteger = /^(?:0|[1-9][0-9]*)$/;
const kLoneSurrogate = /\p{Surrogate}/u;

class Parser {
  #at = 0;
  #values = 0;
  readonly #path: (string | number)[] = [];

  constructor(
    readonly bytes: Buffer,
    readonly file: string,
    readonly integersOnly: boolean,
  ) {}

  document(): JsonValue {
    this.#skipSpace();
    const value = this.#value();
    this.#skipSpace();
    if (this.#at < this.bytes.length) throw this.#error("the end of the JSON text");
    return value;
  }

  #value(): JsonValue {
    this.#count(1);
    switch (this.bytes[this.#at]) {
      case kOpenObject:
        this.#count(kObjectWeight - 1);
        return this.#object();
      case kOpenArray:
        return this.#array();
      case kQuote:
        return this.#string();
      case 0x74:
        return this.#word("true", true);
      case 0x66:
        return this.#word("false", false);
      case 0x6e:
        return this.#word("null", null);
      default:
        return this.#number();
    }
  }

  #object(): JsonObject {
    const object: JsonObject = new Map();
    this.#enter();
    if (this.#take(kCloseObject)) return object;
    do {
      this.#skipSpace();
      if (this.bytes[this.#at] !== kQuote) throw this.#error("a key in double quotes");
      this.#count(1);
      const key = this.#string();
      if (object.has(key))
        throw refuse(this.file, `Expected each key once but ${quote(key)}${this.#where()} comes twice`);
      this.#path.push(key);
      if (!this.#take(kColon)) throw this.#error("':' after a key");
      this.#skipSpace();
      object.set(key, this.#value());
      this.#path.pop();
    } while (this.#take(kComma));
    if (!this.#take(kCloseObject)) throw this.#error("',' or '}'");
    return object;
  }

  #array(): JsonValue[] {
    const array: JsonValue[] = [];
    this.#enter();
    if (this.#take(kCloseArray)) return array;
    do {
      this.#skipSpace();
      this.#path.push(array.length);
      array.push(this.#value());
      this.#path.pop();
    } while (this.#take(kComma));
    if (!this.#take(kCloseArray)) throw this.#error("',' or ']'");
    return array;
  }

  /** Past the opening bracket; `#path` has one entry per open bracket but the innermost. */
  #enter(): void {
    if (this.#path.length >= kMaxDepth)
      throw refuse(
        this.file,
        `Expected at most ${kMaxDepth} levels of nesting but byte ${this.#at} opens one more`,
      );
    this.#at += 1;
  }

  #string(): string {
    const { bytes } = this;
    const start = this.#at;
    let escaped = false;
    for (let at = start + 1; ; at += 1) {
      const byte = bytes[at];
      if (byte === undefined) throw this.#error("a closing double quote");
      if (byte === kQuote) {
        this.#at = at + 1;
        return escaped ? this.#unescape(start, at + 1) : bytes.toString("utf8", start + 1, at);
      }
      if (byte < kSpace) {
        this.#at = at;
        throw this.#error("a string without raw control characters");
      }
      if (byte === kBackslash) {
        escaped = true;
        at += 1;
      }
    }
  }

  #unescape(start: number, end: number): string {
    let text: string;
    try {
      text = JSON.parse(this.bytes.toString("utf8", start, end)) as string;
    } catch (cause) {
      throw refuse(this.file, `Expected a string with valid escapes at byte ${start}${this.#where()}`, cause);
    }
    if (kLoneSurrogate.test(text))
      throw refuse(this.file, `Expected a string without lone surrogates at byte ${start}${this.#where()}`);
    return text;
  }

  #word<T>(word: string, value: T): T {
    if (this.bytes.toString("latin1", this.#at, this.#at + word.length) !== word)
      throw this.#error(`'${word}'`);
    this.#at += word.length;
    return value;
  }

  #number(): number {
    let end = this.#at;
    while (isNumberByte(this.bytes[end])) end += 1;
    const text = this.bytes.toString("latin1", this.#at, Math.min(end, this.#at + 1024));
    const value = Number(text);
    if (this.integersOnly) {
      if (!kInteger.test(text) || !Number.isSafeInteger(value))
        throw this.#error("a non-negative integer below 2^53");
    } else {
      if (!kNumber.test(text)) throw this.#error("a JSON value");
      if (!Number.isFinite(value)) throw this.#error("a finite number");
    }
    this.#at = end;
    return value;
  }

  #skipSpace(): void {
    const { bytes } = this;
    let at = this.#at;
    for (
      let byte = bytes[at];
      byte === kSpace || byte === kLf || byte === kCr || byte === kTab;
      byte = bytes[at]
    )
      at += 1;
    this.#at = at;
  }

  /** Skips space, then takes `byte` if it is there. */
  #take(byte: number): boolean {
    this.#skipSpace();
    if (this.bytes[this.#at] !== byte) return false;
    this.#at += 1;
    return true;
  }

  #count(weight: number): void {
    this.#values += weight;
    if (this.#values > kMaxValues)
      throw refuse(
        this.file,
        `Expected at most ${kMaxValues} keys and values but byte ${this.#at} begins one more`,
      );
  }

  #error(expected: string): Error {
    const rest = this.bytes.toString("latin1", this.#at, this.#at + 24).split(/[\s,\]}]/u, 1)[0] ?? "";
    const ended = this.#at >= this.bytes.length;
    const received = ended
      ? "the end of the text"
      : quote(rest || String.fromCharCode(this.bytes[this.#at] ?? 0));
    return refuse(
      this.file,
      `Expected ${expected} but received ${received} at byte ${this.#at}${this.#where()}`,
    );
  }

  #where(): string {
    if (this.#path.length === 0) return "";
    const shown = this.#path
      .slice(0, 4)
      .map((step) => (typeof step === "number" ? `[${step}]` : quote(step)));
    return ` (in ${shown.join(" > ")}${this.#path.length > 4 ? " > …" : ""})`;
  }
}

/** A digit, sign, point, or letter: letters so that `NaN` and `1e5x` are shown whole in the error. */
function isNumberByte(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    byte === 0x2b ||
    byte === 0x2d ||
    byte === 0x2e ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a)
  );
}
