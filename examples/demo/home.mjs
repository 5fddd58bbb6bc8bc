/**
 * The `home` domain: what the five tools do to a home's state and what they answer.
 *
 * Owns the rules of the environment. Plain synchronous functions; knows nothing of models or engines. Must answer to
 * the letter what the checkpoint was trained on: the answers become prompt tokens.
 *
 * The order counts: a room or door that does not exist is answered with an error, which the model may recover from,
 * before the other arguments are looked at (golden task home-029 does so). A call that would work but for a missing
 * or unknown argument throws, and the attempt has failed.
 */
import { isDeepStrictEqual } from "node:util";

const OK = { ok: true };

/** name → (home, arguments) → answer. Changes `home` in place. */
const TOOLS = {
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
export function callTool(home, { name, arguments: args }) {
  const known = Object.hasOwn(TOOLS, name);
  return pythonJson(known ? TOOLS[name](home, args) : { error: `unknown tool: ${name}` });
}

/** Whether two homes are in the same state; the order of keys does not count, the order of reminders does. */
export function sameHome(a, b) {
  return isDeepStrictEqual(a, b);
}

function set(table, args, kind, property) {
  const name = nameIn(args, kind);
  if (!Object.hasOwn(table, name)) return { error: `unknown ${kind}: ${name}` };
  requireExactly(args, [kind, property]);
  table[name] = args[property];
  return OK;
}

/** The argument that names a room or door. As a property key an array would be turned into text, and could hit one. */
function nameIn(args, parameter) {
  const name = Object.hasOwn(args, parameter) ? args[parameter] : undefined;
  if (name === undefined) throw new Error(`missing argument ${parameter}`);
  if (typeof name === "object") throw new Error(`${parameter} is no name`);
  return name;
}

function requireExactly(args, parameters) {
  const missing = parameters.find((parameter) => !Object.hasOwn(args, parameter));
  if (missing !== undefined) throw new Error(`missing argument ${missing}`);
  const unknown = Object.keys(args).find((argument) => !parameters.includes(argument));
  if (unknown !== undefined) throw new Error(`unknown argument ${unknown}`);
}

/** Python's json.dumps: a space after "," and ":", everything outside printable ASCII escaped. */
function pythonJson(value) {
  if (typeof value === "string") {
    const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
    return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escaped);
  }
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).map(([key, item]) => `${pythonJson(key)}: ${pythonJson(item)}`);
    return `{${members.join(", ")}}`;
  }
  return JSON.stringify(value);
}
