/**
 * Owns turning a conversation into text with a checkpoint's chat template: checks what the caller passed, hands plain
 * copies to the template, and types the failures.
 *
 * Any thread, synchronous; async-renderer.ts keeps the event loop free. Must not let template variables replace the
 * conversation (CVE-2025-62426 is that class), and must not add, drop or reword anything: text must equal Hugging Face's
 * to the letter.
 */
import { editDistance, itemsOf, reading, unknownKey } from "../check.js";
import { invalid, LockstepError, messageOf } from "../errors.js";
import { runWithin, TimeUp } from "./clock.js";
import { BoundError, type Bounds, type Program, parseTemplate, renderTemplate } from "./python-jinja.js";
import type { ChatMessage, Tool } from "./types.js";

export interface ChatTemplateOptions {
  tools?: readonly Tool[] | null;
  /** Ends the text where the assistant's answer begins. Hugging Face's default is false. */
  addGenerationPrompt?: boolean;
  /** Qwen3's switch. Absent from the template when undefined, which Qwen3 reads as true. */
  enableThinking?: boolean;
  /** A template to use instead of the checkpoint's. */
  chatTemplate?: string;
  /** Any other key is a variable of the template; what looks like an option misspelt is refused. */
  [variable: string]: unknown;
}

/** Variables that only their own option may set, and that option. */
const RESERVED: Readonly<Record<string, string>> = {
  messages: "the first argument",
  add_generation_prompt: "addGenerationPrompt",
  enable_thinking: "enableThinking",
  chat_template: "chatTemplate",
};

const OPTIONS = ["tools", "addGenerationPrompt", "enableThinking", "chatTemplate"];

/** What a template may take: its time and its sizes. */
export interface Allowance extends Bounds {
  milliseconds: number;
}

/** On the caller's own time. The clock is far above real templates: 18,000 messages take Qwen3's a third of it (2 cores, Node 20, 2026-11). */
export const FULL: Allowance = {
  milliseconds: 5_000,
  textUnits: 2 ** 24,
  listLength: 2 ** 20,
  searchUnits: 2 ** 32,
};
/** Where the event loop waits: no single step of V8 takes longer than some milliseconds at these sizes. */
export const BRIEF: Allowance = {
  milliseconds: 25,
  textUnits: 2 ** 14,
  listLength: 2 ** 10,
  searchUnits: 2 ** 24,
};

const MAX_DEPTH = 200;
/**
 * Of lists and objects and what is in them, all together: 40,000 messages. Checking and copying them, for which the event
 * loop waits, takes 70 ms (2 cores, Node 20, 2026-11).
 */
const MAX_VALUES = 2 ** 17;
/** Of all texts together. */
const MAX_UNITS = FULL.textUnits;

/** A template's variables: plain JSON values, and how much of them there is. */
export interface Variables {
  values: Record<string, unknown>;
  /** Items and UTF-16 units. */
  size: number;
}

export class ChatTemplate {
  readonly source: string;
  #program: Program | undefined;

  constructor(source: string) {
    this.source = source;
  }

  /** `specialTokens`: bos_token, eos_token and the like, which `options` may override as in Hugging Face. */
  render(
    messages: readonly ChatMessage[],
    options: ChatTemplateOptions = {},
    specialTokens: Readonly<Record<string, string>> = {},
  ): string {
    return this.renderVariables(templateVariables(messages, options, specialTokens).values, FULL);
  }

  /** A TEMPLATE_ERROR for whatever goes wrong; see exceeds() for one that is the allowance's. */
  renderVariables(variables: Record<string, unknown>, allowance: Allowance): string {
    try {
      return runWithin(allowance.milliseconds, () => {
        this.#program ??= parse(this.source);
        return renderTemplate(this.#program, variables, allowance);
      });
    } catch (cause) {
      if (cause instanceof LockstepError) throw cause;
      throw templateError("failed", cause);
    }
  }
}

/** Whether this is a template that took more than it was allowed: with more, it may still render. */
export function exceeds(error: unknown): boolean {
  const cause = error instanceof LockstepError ? error.cause : undefined;
  return cause instanceof BoundError || cause instanceof TimeUp;
}

function parse(source: string): Program {
  try {
    return parseTemplate(source);
  } catch (cause) {
    throw templateError("does not parse", cause);
  }
}

/** Checks what the caller passed and copies it. */
export function templateVariables(
  messages: readonly ChatMessage[],
  options: ChatTemplateOptions,
  specialTokens: Readonly<Record<string, string>>,
): Variables {
  const copier = new Copier();
  const values = {
    ...specialTokens,
    documents: null,
    ...reading("chat template options", () => checkOptions(options, copier)),
    messages: reading("messages", () => checkMessages(messages, copier)),
  };
  return { values, size: copier.values + copier.units };
}

function templateError(what: string, cause: unknown): LockstepError {
  // The library's parser runs off the end of a template that stops in the middle of an expression.
  const reason = cause instanceof TypeError ? "it ends too early" : messageOf(cause);
  return new LockstepError("TEMPLATE_ERROR", `The chat template ${what}: ${reason}`, { cause });
}

/** The options as variables of the template. */
function checkOptions(options: ChatTemplateOptions, copier: Copier): Record<string, unknown> {
  if (!isObject(options)) throw invalid("an object", "the chat template's options", options);
  for (const [name, instead] of Object.entries(RESERVED)) {
    if (options[name] !== undefined)
      throw invalid(`${instead} to be used instead`, `the template variable ${name}`, options[name]);
  }
  const { tools, addGenerationPrompt, enableThinking, chatTemplate: _, ...variables } = options;
  for (const [name, value] of Object.entries({ addGenerationPrompt, enableThinking }))
    if (value !== undefined && typeof value !== "boolean") throw invalid("a boolean", name, value);
  for (const [name, value] of Object.entries(variables))
    if (value !== undefined && OPTIONS.some((option) => isMisspelt(name, option)))
      throw unknownKey(name, "chat template options", OPTIONS);
  return {
    ...(copier.copy(variables, "options") as Record<string, unknown>),
    tools: checkTools(tools, copier),
    add_generation_prompt: addGenerationPrompt ?? false,
    ...(enableThinking !== undefined && { enable_thinking: enableThinking }),
  };
}

/** One slip of the pen in a short name, two in a long one; underscores are none. */
function isMisspelt(name: string, option: string): boolean {
  return editDistance(name.replaceAll("_", ""), option) <= (option.length < 8 ? 1 : 2);
}

function checkMessages(messages: readonly ChatMessage[], copier: Copier): unknown {
  if (!Array.isArray(messages) || messages.length === 0)
    throw invalid("a non-empty array of messages", "messages", messages);
  itemsOf(messages, "messages", MAX_VALUES).forEach((message, i) => {
    if (!isObject(message)) throw invalid("an object with role and content", `messages[${i}]`, message);
    if (typeof message.role !== "string" || message.role === "")
      throw invalid("a non-empty string", `messages[${i}].role`, message.role);
    const content = message.content;
    if (typeof content !== "string" && content !== undefined && content !== null && !Array.isArray(content))
      throw invalid("a string, null or an array of parts", `messages[${i}].content`, content);
    const { tool_calls: calls } = message;
    if (calls !== undefined && calls !== null) checkToolCalls(calls, `messages[${i}].tool_calls`);
    refuseSlips(message as { role: string }, `messages[${i}]`);
  });
  return copier.copy(messages, "messages");
}

const ROLES = ["system", "user", "assistant", "tool"];
const CONTENTS = ["content", "tool_calls", "reasoning_content"];

/** A template would silently leave out what it does not know, and other templates may know other roles and keys. */
function refuseSlips(message: { role: string; [key: string]: unknown }, where: string): void {
  const { role } = message;
  const meant = role.trim().toLowerCase();
  if (role !== meant && ROLES.includes(meant)) throw invalid(`'${meant}'`, `${where}.role`, role);
  if (!ROLES.includes(role) || CONTENTS.some((key) => message[key] !== undefined)) return;
  const slip = Object.keys(message).find((name) => CONTENTS.some((key) => isMisspelt(name, key)));
  if (slip !== undefined) throw unknownKey(slip, where, ["role", ...CONTENTS]);
}

function checkToolCalls(calls: unknown, where: string): void {
  if (!Array.isArray(calls)) throw invalid("an array of tool calls", where, calls);
  itemsOf(calls, where, MAX_VALUES).forEach((call, i) => {
    const inner = isObject(call) && isObject(call.function) ? call.function : call;
    if (!isObject(inner) || typeof inner.name !== "string")
      throw invalid("{ name, arguments }, bare or under `function`,", `${where}[${i}]`, call);
  });
}

function checkTools(tools: unknown, copier: Copier): unknown {
  if (tools === undefined || tools === null) return null;
  if (!Array.isArray(tools)) throw invalid("an array of tools", "tools", tools);
  itemsOf(tools, "tools", MAX_VALUES).forEach((tool, i) => {
    if (!isObject(tool)) throw invalid("an object that describes a tool", `tools[${i}]`, tool);
  });
  return copier.copy(tools, "tools");
}

/**
 * Copies in plain JSON values. Keys set to undefined are absent (JSON.stringify's rule, which the template's tojson
 * would not follow); everything that JSON has no form for is refused with its path.
 */
class Copier {
  values = 0;
  units = 0;
  readonly #path: (string | number)[] = []; // of the value in hand

  copy(value: unknown, where: string): unknown {
    this.#path.length = 0;
    this.#path.push(where);
    return this.#copy(value);
  }

  #copy(value: unknown): unknown {
    if (++this.values > MAX_VALUES) throw this.#refusal(`at most ${MAX_VALUES} values in all`, value);
    if (typeof value === "string") {
      this.units += value.length;
      if (this.units > MAX_UNITS)
        throw this.#refusal(`at most ${MAX_UNITS} characters of text in all`, value);
      return value;
    }
    if (value === null || typeof value === "boolean") return value;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    if (typeof value === "object") {
      if (this.#path.length > MAX_DEPTH) throw this.#refusal(`at most ${MAX_DEPTH} levels of nesting`, value);
      if (Array.isArray(value))
        return itemsOf(value, this.#place(), MAX_VALUES).map((item, i) => this.#item(item ?? null, i));
      const prototype = Object.getPrototypeOf(value) as unknown;
      if (prototype === null || Object.getPrototypeOf(prototype) === null) {
        const entries = Object.entries(value).filter(([, item]) => item !== undefined);
        for (const entry of entries) entry[1] = this.#item(entry[1], entry[0]);
        return Object.fromEntries(entries);
      }
    }
    throw this.#refusal("a JSON value", value);
  }

  #item(item: unknown, key: string | number): unknown {
    this.#path.push(key);
    const copy = this.#copy(item);
    this.#path.pop();
    return copy;
  }

  #place(): string {
    const [root, ...keys] = this.#path;
    return `${root}${keys.map((key) => (typeof key === "number" ? `[${key}]` : `.${key}`)).join("")}`;
  }

  #refusal(expected: string, value: unknown): LockstepError {
    return invalid(expected, this.#place(), value);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
