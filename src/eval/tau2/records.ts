/**
 * The records of one kind in a database, by id: shared by all environments until one of them asks for a record to change it.
 *
 * get() gives the environment's own copy, made the first time. values() and entries() may give shared records: only to be read. So an environment of
 * thousands of records costs a table of pointers, and only what was touched is written anew for the hash.
 */
import { dumps } from "../../python/json.js";
import type { Model } from "../../python/models.js";
import { deepCopy } from "../../python/operators.js";
import { compareText } from "../../python/text.js";

/** The canonical JSON of shared records, which nobody changes. */
const canonicalOfShared = new WeakMap<Model, string>();

export class Records<T extends Model> extends Map<string, T> {
  readonly #own = new Set<string>();

  override get(id: string): T | undefined {
    const record = super.get(id);
    if (record === undefined || this.#own.has(id)) return record;
    const copy = deepCopy(record);
    this.set(id, copy);
    return copy;
  }

  override set(id: string, record: T): this {
    // Map's constructor sets what it is given before this class has fields: those are the shared ones.
    if (#own in this) this.#own.add(id);
    return super.set(id, record);
  }

  /** As json.dumps with sorted keys writes it. */
  canonicalJson(): string {
    const ids = [...this.keys()].sort(compareText);
    return `{${ids.map((id) => `${dumps(id)}: ${this.#canonical(id)}`).join(", ")}}`;
  }

  #canonical(id: string): string {
    const record = super.get(id)!;
    if (this.#own.has(id)) return dumps(record, { sortKeys: true });
    let text = canonicalOfShared.get(record);
    if (text === undefined) {
      text = dumps(record, { sortKeys: true });
      canonicalOfShared.set(record, text);
    }
    return text;
  }
}
