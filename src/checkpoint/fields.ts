/**
 * Typed reading of a parsed JSON object's keys, shared by config.json and generation_config.json.
 * null counts as absent, as in transformers. Main thread; pure. Must not know any key by name.
 */
import { describe, refuse } from "./refuse.js";
import type { JsonObject, JsonValue } from "./strict-json.js";

export class Fields {
  constructor(
    readonly object: JsonObject,
    readonly file: string,
    /** Dotted path in front of the keys, for messages. */
    readonly prefix = "",
  ) {}

  get(key: string): JsonValue | undefined {
    return this.object.get(key) ?? undefined;
  }

  /** The refusal of this key's value. */
  bad(key: string, expected: string): Error {
    return refuse(
      this.file,
      `Expected ${expected} for ${this.prefix}${key} but received ${describe(this.object.get(key))}`,
    );
  }

  integer(key: string, min: number, max: number): number | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.bad(key, `an integer in [${min}, ${max}]`);
  }

  number(key: string, min: number, max: number): number | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    if (typeof value === "number" && value >= min && value <= max) return value;
    throw this.bad(key, `a number in [${min}, ${max}]`);
  }

  boolean(key: string): boolean | undefined {
    const value = this.get(key);
    if (value === undefined || typeof value === "boolean") return value;
    throw this.bad(key, "true or false");
  }

  string(key: string): string | undefined {
    const value = this.get(key);
    if (value === undefined || typeof value === "string") return value;
    throw this.bad(key, "a string");
  }

  strings(key: string): string[] | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value as string[];
    throw this.bad(key, "an array of strings");
  }

  nested(key: string): Fields | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    if (value instanceof Map) return new Fields(value, this.file, `${this.prefix}${key}.`);
    throw this.bad(key, "an object");
  }

  /** One id or an array of ids, as transformers writes `eos_token_id`. */
  tokenIds(key: string): number[] {
    const value = this.get(key);
    if (value === undefined) return [];
    const ids = Array.isArray(value) ? value : [value];
    if (ids.every((id) => typeof id === "number" && Number.isInteger(id) && id >= 0 && id < 2 ** 31))
      return [...new Set(ids as number[])];
    throw this.bad(key, "a token id or an array of token ids");
  }

  /** `value`, which was read from `key`, or the refusal of its absence. */
  required<T>(key: string, value: T | undefined): T {
    if (value !== undefined) return value;
    throw this.bad(key, "a value");
  }

  /** Refuses any value but `only`; absent is fine. For features that would change the numbers and are not here. */
  onlyIf(key: string, only: boolean | number | string): void {
    const value = this.get(key);
    if (value !== undefined && value !== only)
      throw this.bad(key, `${describe(only)}, the only one supported,`);
  }
}
