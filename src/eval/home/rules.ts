/**
 * The `home` domain's environment: what its five tools do to a home's state and what they answer.
 *
 * Plain synchronous functions; knows nothing of models or engines. Must answer to the letter what the demo's checkpoint was
 * trained on: the answers become prompt tokens.
 *
 * The order counts: a room or door that does not exist is answered with an error, which the model may recover from,
 * before the other arguments are looked at (golden task home-029 does so). A call that would work but for a missing
 * or unknown argument throws, and the attempt has failed.
 */
import { isDeepStrictEqual } from "node:util";
import type { ToolCall } from "../../index.js";

type Table = Record<string, unknown>;

export interface Home {
  lights: Table;
  thermostats: Table;
  locks: Table;
  reminders: { text: unknown; time: unknown }[];
}

const OK = { ok: true };

/** name → (home, arguments) → answer. Changes `home` in place. */
const TOOLS: Record<string, (home: Home, args: Table) => Table> = {
  get_state(home, args) {
    const name = nameIn(args, "name");
    const isRoom = Object.hasOwn(home.lights, name);
    if (!isRoom && !Object.hasOwn(home.locks, name)) return { error: `unknown name: ${name}` };
    requireExactly(args, ["name"]);
    return isRoom
      ? { room: name, light: home.lights[name], celsius: home.thermostats[name] }
      : { door: name, lock: home.locks[name] };
  },
  set_light: (home, args) => set(home.lights, args, "room", "state"),
  set_thermostat: (home, args) => set(home.thermostats, args, "room", "celsius"),
  set_lock: (home, args) => set(home.locks, args, "door", "state"),
  add_reminder(home, args) {
    requireExactly(args, ["text", "time"]);
    home.reminders.push({ text: args.text, time: args.time });
    return OK;
  },
};

/** Applies one call to `home` and returns the answer's text. */
export function callTool(home: Home, { name, arguments: args }: ToolCall): string {
  const tool = Object.hasOwn(TOOLS, name) ? TOOLS[name] : undefined;
  return pythonJson(tool ? tool(home, args) : { error: `unknown tool: ${name}` });
}

/** Whether two homes are in the same state; the order of keys does not count, the order of reminders does. */
export function sameHome(a: Home, b: Home): boolean {
  return isDeepStrictEqual(a, b);
}

function set(table: Table, args: Table, kind: string, property: string): Table {
  const name = nameIn(args, kind);
  if (!Object.hasOwn(table, name)) return { error: `unknown ${kind}: ${name}` };
  requireExactly(args, [kind, property]);
  table[name] = args[property];
  return OK;
}

/** The argument that names a room or door. As a property key an array would be turned into text, and could hit one. */
function nameIn(args: Table, parameter: string): string {
  const name = Object.hasOwn(args, parameter) ? args[parameter] : undefined;
  if (name === undefined) throw new Error(`missing argument ${parameter}`);
  if (typeof name === "object") throw new Error(`${parameter} is no name`);
  return name as string; // a number or a boolean names nothing, and the answer shows it as it came
}

function requireExactly(args: Table, parameters: readonly string[]): void {
  const missing = parameters.find((parameter) => !Object.hasOwn(args, parameter));
  if (missing !== undefined) throw new Error(`missing argument ${missing}`);
  const unknown = Object.keys(args).find((argument) => !parameters.includes(argument));
  if (unknown !== undefined) throw new Error(`unknown argument ${unknown}`);
}

/** Python's json.dumps: a space after "," and ":", everything outside printable ASCII escaped. */
function pythonJson(value: unknown): string {
  if (typeof value === "string") {
    const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
    return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escaped);
  }
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).map(([key, item]) => `${pythonJson(key)}: ${pythonJson(item)}`);
    return `{${members.join(", ")}}`;
  }
  return JSON.stringify(value);
}
