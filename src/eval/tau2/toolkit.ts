/**
 * A toolkit: a database and the functions that read and change it, called by name with arguments that nobody checked.
 *
 * Owns how a call becomes a result or an error's text, and how results are shown. The functions themselves are the domains'
 * (airline/, retail/, telecom/). Errors of a call are PyError; anything else thrown is a fault of ours and passes through.
 */
import { createHash } from "node:crypto";
import { bindArguments, type Parameter } from "../../python/call.js";
import { dumps } from "../../python/json.js";
import { str } from "../../python/repr.js";
import { compareText } from "../../python/text.js";
import {
  type PyArguments,
  PyDate,
  PyError,
  PyObject,
  PyTuple,
  type PyValue,
  valueError,
} from "../../python/types.js";
import { Records } from "./records.js";

/** A function of a toolkit. `Kit` is what it works on: the database and what else its domain holds. */
export interface ToolFunction<Kit> {
  parameters: readonly Parameter[];
  // biome-ignore lint/suspicious/noExplicitAny: as many values as there are parameters
  run(kit: Kit, ...values: any[]): PyValue;
}

/** `run` gets the values of `parameters` in their order. */
export function tool<Kit>(
  parameters: readonly Parameter[],
  // biome-ignore lint/suspicious/noExplicitAny: as many values as there are parameters
  run: (kit: Kit, ...values: any[]) => PyValue,
): ToolFunction<Kit> {
  return { parameters, run };
}

export interface ToolkitClass<Kit> {
  /** The class's name, which errors of binding show. */
  name: string;
  /** What the agent or the user can call, in the order of definition. */
  tools: Record<string, ToolFunction<Kit>>;
  /** What only tasks call: initial actions and assertions. */
  taskFunctions: Record<string, ToolFunction<Kit>>;
}

/** A tool by name, as a participant calls it. */
export function useTool<Kit>(
  toolkit: ToolkitClass<Kit>,
  kit: Kit,
  name: string,
  given: PyArguments,
): PyValue {
  if (!Object.hasOwn(toolkit.tools, name)) throw valueError(`Tool '${name}' not found.`);
  return call(toolkit, kit, name, toolkit.tools[name]!, given);
}

/** Any function by name, tool or not, as a task's initial actions and assertions call it. */
export function useFunction<Kit>(
  toolkit: ToolkitClass<Kit>,
  kit: Kit,
  name: string,
  given: PyArguments,
): PyValue {
  const table = Object.hasOwn(toolkit.taskFunctions, name) ? toolkit.taskFunctions : toolkit.tools;
  if (!Object.hasOwn(table, name))
    throw new PyError("AttributeError", `'${toolkit.name}' object has no attribute '${name}'`);
  return call(toolkit, kit, name, table[name]!, given);
}

function call<Kit>(
  toolkit: ToolkitClass<Kit>,
  kit: Kit,
  name: string,
  tool: ToolFunction<Kit>,
  given: PyArguments,
) {
  return tool.run(kit, ...bindArguments(`${toolkit.name}.${name}`, tool.parameters, given));
}

/**
 * A result as the conversation shows it: a text as it is, anything else as JSON. Numbers and booleans on their own or in lists and dicts become
 * texts (`"8.7"`, `"True"`); fields of models keep their types.
 */
export function resultText(result: PyValue): string {
  return typeof result === "string" ? result : dumps(shown(result));
}

function shown(value: PyValue): PyValue {
  if (value === null || typeof value === "string" || value instanceof PyObject) return value;
  if (value instanceof PyTuple || Array.isArray(value)) return Array.from(value, shown);
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, shown(item)]));
  if (value instanceof PyDate) return value.isoformat;
  return str(value);
}

/** SHA-256 over canonical JSON: sorted keys, ASCII only. */
export function hashOf(database: PyObject): string {
  const fields = database.entries().sort(([a], [b]) => compareText(a, b));
  const tables = fields.flatMap(([, value]) => (value instanceof Records ? [value] : []));
  if (tables.length < fields.length) return hash(fields); // small, and without shared records to tell states apart by
  const known = knownHashes(tables[0]!.shared);
  const state = tables.map((table) => table.changes()).join("\n\n");
  let result = known.get(state);
  if (result === undefined) {
    result = hash(fields);
    known.set(state, result);
  }
  return result;
}

/** By what differs from the shared records: most calls change nothing, and a large database takes 20 ms to hash. */
const kHashes = new WeakMap<object, Map<string, string>>();
const kMostHashes = 1000;

function knownHashes(shared: object): Map<string, string> {
  const known = kHashes.get(shared);
  if (known !== undefined && known.size < kMostHashes) return known;
  const fresh = new Map<string, string>();
  kHashes.set(shared, fresh);
  return fresh;
}

function hash(fields: [string, PyValue][]): string {
  const canonical = (value: PyValue) =>
    value instanceof Records ? value.canonicalJson() : dumps(value, { sortKeys: true });
  const texts = fields.map(([name, value]) => `${dumps(name)}: ${canonical(value)}`);
  return createHash("sha256")
    .update(`{${texts.join(", ")}}`)
    .digest("hex");
}
