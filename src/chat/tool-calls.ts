/**
 * Owns reading the `<tool_call>{json}</tool_call>` blocks of a model's text.
 *
 * Any thread, no state. Must not throw on what a model wrote: a malformed block stays text and is skipped.
 * Must stay linear in the text's length, whatever the text: see the scan budget.
 */
import type { ToolCall } from "./types.js";

const OPEN = "<tool_call>";
const CLOSE = "</tool_call>";

/**
 * The calls of `text`, in order. A block counts when its content is one JSON object with a non-empty string `name`
 * and an object `arguments`; other keys are ignored. A `</tool_call>` inside a JSON string does not end the block.
 */
export function parseToolCalls(text: string): ToolCall[] {
  const calls: ToolCall[] = [];
  // Each opening tag is scanned to the end of its object. Tags that never close could make that quadratic
  // (`<tool_call>{` a million times), so the scans together may read 16 times the text; what lies beyond stays text.
  const budget = { characters: 16 * text.length };
  let at = text.indexOf(OPEN);
  while (at >= 0 && budget.characters > 0) {
    const start = skipSpace(text, at + OPEN.length);
    const end = endOfObject(text, start, budget);
    const close = end < 0 ? -1 : skipSpace(text, end);
    const call = close >= 0 && text.startsWith(CLOSE, close) ? readCall(text.slice(start, end)) : undefined;
    if (call) calls.push(call);
    // After a malformed block the search goes on right behind its opening tag: the next tag may open a good one.
    at = text.indexOf(OPEN, call ? close + CLOSE.length : at + OPEN.length);
  }
  return calls;
}

/** The index behind the object that starts at `start`, or -1. Braces are counted outside strings; JSON.parse judges the rest. */
function endOfObject(text: string, start: number, budget: { characters: number }): number {
  if (text[start] !== "{") return -1;
  let depth = 0;
  let inString = false;
  for (let i = start; i < text.length; ++i) {
    if (--budget.characters <= 0) return -1;
    const c = text[i];
    if (inString) {
      if (c === "\\") ++i;
      else if (c === '"') inString = false;
    } else if (c === '"') inString = true;
    else if (c === "{") ++depth;
    else if (c === "}" && --depth === 0) return i + 1;
  }
  return -1;
}

function skipSpace(text: string, start: number): number {
  let i = start;
  while (i < text.length && " \t\r\n".includes(text[i]!)) ++i;
  return i;
}

function readCall(json: string): ToolCall | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const { name, arguments: args } = value;
  return typeof name === "string" && name !== "" && isObject(args) ? { name, arguments: args } : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
