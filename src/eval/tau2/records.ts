/**
 * The records of one kind in a database, by id: shared by all environments until one of them asks for a record to change it.
 *
 * get() gives the environment's own copy, made the first time. values() and entries() may give shared records: only to be read. So an environment of
 * thousands of records costs a table of pointers, and only what was touched is written anew for the hash.
 */
import { dumps } from "../../python/json.js";
import { type Model, type ModelClass, make } from "../../python/models.js";
import { deepCopy } from "../../python/operators.js";
import { compareText } from "../../python/text.js";
import type { PyDict } from "../../python/types.js";

/** The canonical JSON of shared records, which nobody changes. */
const canonicalOfShared = new WeakMap<Model, string>();

function canonicalShared(record: Model): string {
  let text = canonicalOfShared.get(record);
  if (text === undefined) {
    text = dumps(record, { sortKeys: true });
    canonicalOfShared.set(record, text);
  }
  return text;
}

export class Records<T extends Model> extends Map<string, T> {
  readonly #shared: ReadonlyMap<string, T>;
  readonly #own = new Set<string>();

  constructor(shared: ReadonlyMap<string, T>) {
    super(shared);
    this.#shared = shared;
  }

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

  /** What differs from the shared records: equal texts over the same shared records are equal states. Nothing is ever taken out of one of these. */
  changes(): string {
    const changed = [...this.#own].sort(compareText).flatMap((id) => {
      const [text, shared] = [this.#canonical(id), this.#shared.get(id)];
      return shared !== undefined && canonicalShared(shared) === text ? [] : [`${id} ${text}`];
    });
    return changed.join("\n");
  }

  /** Whose changes() can be held against this one's. */
  get shared(): object {
    return this.#shared;
  }

  #canonical(id: string): string {
    const record = super.get(id)!;
    return this.#own.has(id) ? dumps(record, { sortKeys: true }) : canonicalShared(record);
  }

  override delete(): never {
    throw new Error("records are not taken out");
  }
}

/** Reads a database whose fields are all tables; gives what makes one for each environment. */
export function sharedDatabases<T extends Model>(model: ModelClass<T>, data: PyDict): () => T {
  const tables = make(model, data).entries() as [string, Map<string, Model>][];
  return () => {
    const database = new model();
    for (const [name, table] of tables) Object.assign(database, { [name]: new Records(table) });
    return database;
  };
}
