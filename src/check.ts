/**
 * Checks of what a caller passed: each returns the value with its type known, or throws a LockstepError that says
 * what was expected, what came and where. Pure; no defaults here.
 */
import { invalid, isLockstepError, LockstepError, messageOf, show } from "./errors.js";

export type Check<T> = (value: unknown, where: string) => T;

export const boolean: Check<boolean> = (value, where) => {
  if (typeof value !== "boolean") throw invalid("a boolean", where, value);
  return value;
};

export const string: Check<string> = (value, where) => {
  if (typeof value !== "string") throw invalid("a string", where, value);
  return value;
};

/** A string without lone surrogates: one that UTF-8 can write. */
export const text: Check<string> = (value, where) => {
  if (typeof value !== "string" || !value.isWellFormed())
    throw invalid("a string without lone surrogates", where, value);
  return value;
};

export function integer(min: number, max: number): Check<number> {
  const range = max === Number.MAX_SAFE_INTEGER ? `[${min}, 2^53)` : `[${min}, ${max}]`;
  return (value, where) => {
    if (!Number.isInteger(value) || (value as number) < min || (value as number) > max)
      throw invalid(`an integer in ${range}`, where, value);
    return (value as number) + 0; // -0 is 0
  };
}

/** A finite number in [min, max], or in (min, max] where `above` is set. `note` says what a special value means. */
export function number(min: number, max: number, { above = false, note = "" } = {}): Check<number> {
  const range = `${above ? "(" : "["}${min}, ${max}]`;
  return (value, where) => {
    if (typeof value !== "number" || !(above ? value > min : value >= min) || !(value <= max))
      throw invalid(`a number in ${range}`, note === "" ? where : `${where} (${note})`, value);
    return value;
  };
}

export function oneOf<const T extends string>(...choices: T[]): Check<T> {
  return (value, where) => {
    if (!choices.includes(value as T))
      throw invalid(choices.map((choice) => `'${choice}'`).join(" or "), where, value);
    return value as T;
  };
}

export const abortSignal: Check<AbortSignal> = (value, where) => {
  if (!isSignal(value)) throw invalid("an AbortSignal", where, value);
  return value;
};

function isSignal(value: unknown): value is AbortSignal {
  try {
    return value instanceof AbortSignal && typeof value.aborted === "boolean";
  } catch {
    return false; // what only inherits from AbortSignal has no `aborted`
  }
}

export function callback<F extends (...args: never[]) => unknown>(): Check<F> {
  return (value, where) => {
    if (typeof value !== "function") throw invalid("a function", where, value);
    return value as F;
  };
}

/** An array, a typed array or another object with a length. */
export function isList(value: unknown): value is ArrayLike<unknown> {
  if (typeof value !== "object" || value === null) return false;
  const { length } = value as { length?: unknown };
  return Number.isInteger(length) && (length as number) >= 0;
}

/**
 * A copy of a caller's array, holes as undefined. By index, since an array may have an iterator of its own that ends
 * elsewhere, or never; and a longer one is refused before it is walked.
 */
export function itemsOf(list: readonly unknown[], where: string, max: number, what = "items"): unknown[] {
  const { length } = list;
  if (length > max) throw invalid(`at most ${max} ${what}`, where, list);
  const items: unknown[] = [];
  try {
    for (let i = 0; i < length; ++i) items.push(list[i]);
  } catch (cause) {
    throw unreadable(`${where}[${items.length}]`, cause);
  }
  return items;
}

/** More tokens than any context holds: a longer list is refused before memory is taken for it. */
const kMaxTokenIds = 2 ** 24;

/** At most `max` token ids in [0, vocabSize): an array, a typed array or another object with a length and integers. */
export function tokenIds(vocabSize: number, max = kMaxTokenIds): Check<Int32Array> {
  return (value, where) => {
    if (!isList(value)) throw invalid("an array or a typed array of token ids", where, value);
    const { length } = value;
    if (length > max) throw invalid(`at most ${max} token ids`, where, value);
    const checked = new Int32Array(length);
    for (let i = 0; i < length; ++i) {
      const id = value[i];
      if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize)
        throw invalid(`a token id in [0, ${vocabSize})`, `${where}[${i}]`, id);
      checked[i] = id as number;
    }
    return checked;
  };
}

/** An object of keys and values, not an instance of something: a Map's entries, say, are not its keys. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype = Object.getPrototypeOf(value) as object | null;
  return prototype === null || Object.getPrototypeOf(prototype) === null; // of this realm or another
}

/** Runs `read` on what a caller passed. What a getter or a proxy of theirs throws is refused like any other value. */
export function reading<T>(where: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw isLockstepError(cause) ? cause : unreadable(where, cause);
  }
}

function unreadable(where: string, cause: unknown): LockstepError {
  return new LockstepError(
    "INVALID_ARGUMENT",
    `Expected ${where} that can be read but reading it threw: ${messageOf(cause)}`,
    { cause },
  );
}

/** What an options object may hold: a check for each known key. */
export type Schema<T> = { [K in keyof T]-?: Check<T[K]> };

/**
 * The known keys of `options` that are not undefined, each checked. Unknown keys are refused with the nearest right
 * name; `later` names keys that are known and not supported yet.
 */
export function checkOptions<T extends object>(
  options: unknown,
  where: string,
  schema: Schema<T>,
  later: readonly string[] = [],
): Partial<T> {
  return options === undefined ? {} : reading(where, () => checkKeys(options, where, schema, later));
}

function checkKeys<T extends object>(
  options: unknown,
  where: string,
  schema: Schema<T>,
  later: readonly string[],
): Partial<T> {
  if (!isPlainObject(options)) throw invalid("an object", where, options);
  const checked: Partial<T> = {};
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (later.includes(key))
      throw new LockstepError(
        "NOT_SUPPORTED",
        `${where}.${key} is not supported by this version of Lockstep`,
      );
    if (!Object.hasOwn(schema, key)) throw unknownKey(key, where, [...Object.keys(schema), ...later]);
    const check = schema[key as keyof T] as Check<T[keyof T]>;
    checked[key as keyof T] = check(value, key);
  }
  return checked;
}

/** The refusal of an option that there is not, with the nearest of those there are. */
export function unknownKey(key: string, where: string, known: readonly string[]): LockstepError {
  return unknownName(key, `a known option in ${where}`, known);
}

/** The refusal of a name that is none of `known`, with the nearest of them, and, where they are few, all. */
export function unknownName(name: string, expected: string, known: readonly string[]): LockstepError {
  const nearest = [...known].sort((a, b) => editDistance(name, a) - editDistance(name, b))[0] ?? "";
  const near = editDistance(name, nearest) <= Math.max(2, Math.min(name.length, nearest.length) / 2);
  const hint = near && nearest !== "" ? `: did you mean ${nearest}?` : ".";
  const all = known.length <= kMaxListed ? ` Known: ${known.join(", ")}` : "";
  return new LockstepError(
    "INVALID_ARGUMENT",
    `Expected ${expected} but received ${show(name).replace(/ \(string\)$/, "")}${hint}${all}`,
  );
}

/** More names than a refusal lists. */
const kMaxListed = 50;

/** Levenshtein distance, case ignored: "top_p" and "TopP" are near "topP". */
export function editDistance(a: string, b: string): number {
  const s = a.toLowerCase().slice(0, 64);
  const t = b.toLowerCase();
  let row = Array.from({ length: t.length + 1 }, (_, j) => j);
  for (let i = 1; i <= s.length; ++i) {
    const next = [i];
    for (let j = 1; j <= t.length; ++j)
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (s[i - 1] === t[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[t.length]!;
}
