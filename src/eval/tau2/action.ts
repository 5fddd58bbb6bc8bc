/**
 * From what the agent wrote to what the environment does: one `<tool_call>` block, read as JSON, becomes an action's text, and the environment reads
 * that text again. The second reading is the original's; it decides what runs (SPEC §3). Pure; errors are PyError.
 */
import { parseCallText } from "../../python/call-text.js";
import { loads } from "../../python/json.js";
import { repr } from "../../python/repr.js";
import { strip } from "../../python/text.js";
import {
  type PyArguments,
  type PyDict,
  PyError,
  PyTuple,
  type PyValue,
  truthy,
  typeName,
  valueError,
} from "../../python/types.js";

export interface ParsedAction {
  name: string;
  arguments: PyArguments;
  /** `name(key=literal, …)`: what stands in the next prompt. */
  rawActionCall: string;
}

const START = "<tool_call>";
const END = "</tool_call>";

/** The one action in what the agent wrote. */
export function parseAction(text: string): ParsedAction {
  const data = loads(strip(onlyBlock(text)));
  if (!(data instanceof Map))
    throw new PyError("AttributeError", `'${typeName(data)}' object has no attribute 'get'`);
  const name = data.get("name");
  const given = data.get("arguments") ?? null;
  let args: PyValue = truthy(given) ? given : new Map();
  if (typeof name !== "string" || name === "") throw valueError("Tool call missing non-empty 'name'");
  if (typeof args === "string") args = strip(args) === "" ? new Map() : loads(args);
  if (!(args instanceof Map)) throw valueError("Tool call 'arguments' must be an object");
  return { name, arguments: args as PyArguments, rawActionCall: functionalCall(name, args as PyArguments) };
}

function onlyBlock(text: string): string {
  const blocks: [number, number][] = [];
  for (let start = text.indexOf(START); start >= 0; ) {
    const end = text.indexOf(END, start + START.length);
    if (end < 0) throw valueError("Missing </tool_call> for <tool_call> block");
    blocks.push([start, end]);
    start = text.indexOf(START, end + END.length);
  }
  if (blocks.length === 0) throw valueError("Missing <tool_call>...</tool_call> block");
  if (blocks.length > 1) throw valueError("Multiple <tool_call> blocks found; expected exactly one");
  const [start, end] = blocks[0]!;
  if (strip(text.slice(0, start)) !== "" || strip(text.slice(end + END.length)) !== "")
    throw valueError("Unexpected text outside <tool_call> block");
  return text.slice(start + START.length, end);
}

function functionalCall(name: string, args: PyArguments): string {
  return `${name}(${[...args].map(([key, value]) => `${key}=${repr(value)}`).join(", ")})`;
}

/** What the environment gets: the content of `respond`, or the functional text of anything else. */
export function environmentAction(action: ParsedAction): string {
  if (action.name !== "respond") return action.rawActionCall;
  const content = action.arguments.get("content");
  if (typeof content !== "string" || strip(content) === "")
    throw valueError("respond requires a non-empty content string");
  return content;
}

export interface ToolCall {
  id: string;
  name: string;
  /** Keys are texts, but for `null`, which `**value` in a call's text gives. */
  arguments: PyDict;
  requestor: "assistant" | "user";
}

/** What an action's text means to the environment: a call, or words for the user. */
export function readAction(action: string): { call: ToolCall } | { text: string } {
  const stripped = strip(action);
  const call = toolCallOfJson(stripped) ?? parseCallText(stripped);
  return call === undefined ? { text: action } : { call: { id: "", requestor: "assistant", ...call } };
}

/** A JSON object that has the fields of a tool call. Other keys are left out. */
function toolCallOfJson(text: string): ToolCall | undefined {
  const data = jsonObject(text);
  if (data === undefined) return undefined;
  const [name, args] = [data.get("name"), data.get("arguments")];
  const [id, requestor] = [
    data.has("id") ? data.get("id") : "",
    data.has("requestor") ? data.get("requestor") : "assistant",
  ];
  const valid = typeof name === "string" && args instanceof Map && typeof id === "string";
  if (!valid || (requestor !== "assistant" && requestor !== "user")) return undefined;
  return { id, name, arguments: args as PyDict, requestor };
}

function jsonObject(text: string): PyDict | undefined {
  if (!text.startsWith("{")) return undefined;
  try {
    const data = loads(text);
    return data instanceof Map && !holdsLoneSurrogate(data) ? data : undefined; // pydantic's reader refuses those
  } catch (error) {
    if (error instanceof PyError) return undefined;
    throw error;
  }
}

function holdsLoneSurrogate(value: PyValue): boolean {
  if (typeof value === "string") return !value.isWellFormed();
  if (value instanceof PyTuple || Array.isArray(value)) return value.some(holdsLoneSurrogate);
  return (
    value instanceof Map &&
    [...value].some(([key, item]) => holdsLoneSurrogate(key) || holdsLoneSurrogate(item))
  );
}
