/** Values and messages in the recordings' layout. Pure. */
import { dumps } from "../../python/json.js";
import type { PyDict, PyValue } from "../../python/types.js";
import type { ToolMessage } from "./environment.js";
import type { Message } from "./orchestrator.js";

/** As JSON.parse gives it: whether a whole number was a float is lost. */
export function plain(value: PyValue): unknown {
  return JSON.parse(dumps(value, { nonFinite: "null" }));
}

/** A message of the trajectory. */
export function shownMessage(message: Message | ToolMessage, index: number): PyDict {
  const { role, content } = message;
  const fields: [string, PyValue][] = [
    ["role", role],
    ["content", content],
    ["turn_idx", BigInt(index)],
  ];
  if (message.role === "tool")
    fields.push(["requestor", message.requestor], ["error", message.error], ["id", message.id]);
  else {
    const calls = message.toolCalls?.map((call) => new Map<string, PyValue>(Object.entries(call)));
    fields.push(["tool_calls", (calls as PyValue[] | undefined) ?? null]);
  }
  return new Map(fields);
}
