/**
 * Owns turning a conversation into text with a checkpoint's chat template: checks what the caller passed, hands plain
 * copies to the template, and types the failures.
 *
 * Any thread, synchronous. Must not let template variables replace the conversation (CVE-2025-62426 is that class), and
 * must not add, drop or reword anything: text must equal Hugging Face's to the letter.
 */
import { editDistance, itemsOf, reading, unknownKey } from "../check.js";
import { invalid, LockstepError, messageOf } from "../errors.js";
import { type Program, parseTemplate, renderTemplate } from "./python-jinja.js";
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

const MAX_DEPTH = 200;
/** Of messages, tools, parts and any other list: far above a real conversation, far below what would hang the thread. */
const MAX_ITEMS = 1_000_000;

export class ChatTemplate {
  readonly #program: Program;

  /** Compiles; what does not parse is a TEMPLATE_ERROR. */
  constructor(source: string) {
    try {
      this.#program = parseTemplate(source);
    } catch (cause) {
      throw templateError("does not parse", cause);
    }
  }

  /** `specialTokens`: bos_token, eos_token and the like, which `options` may override as in Hugging Face. */
  render(
    messages: readonly ChatMessage[],
    options: ChatTemplateOptions = {},
    specialTokens: Readonly<Record<string, string>> = {},
  ): string {
    const values = {
      ...specialTokens,
      documents: null,
      ...reading("chat template options", () => checkOptions(options)),
      messages: reading("messages", () => checkMessages(messages)),
    };
    try {
      return renderTemplate(this.#program, values);
    } catch (cause) {
      throw templateError("failed", cause);
    }
  }
}

function templateError(what: string, cause: unknown): LockstepError {
  // The library's parser runs off the end of a template that stops in the middle of an expression.
  const reason = cause instanceof TypeError ? "it ends too early" : messageOf(cause);
  return new LockstepError("TEMPLATE_ERROR", `The chat template ${what}: ${reason}`, { cause });
}

/** The options as variables of the template. */
function checkOptions(options: ChatTemplateOptions): Record<string, unknown> {
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
    ...(plain(variables, "options", 0) as Record<string, unknown>),
    tools: checkTools(tools),
    add_generation_prompt: addGenerationPrompt ?? false,
    ...(enableThinking !== undefined && { enable_thinking: enableThinking }),
  };
}

/** One slip of the pen in a short name, two in a long one; underscores are none. */
function isMisspelt(name: string, option: string): boolean {
  return editDistance(name.replaceAll("_", ""), option) <= (option.length < 8 ? 1 : 2);
}

function checkMessages(messages: readonly ChatMessage[]): unknown {
  if (!Array.isArray(messages) || messages.length === 0)
    throw invalid("a non-empty array of messages", "messages", messages);
  itemsOf(messages, "messages", MAX_ITEMS).forEach((message, i) => {
    const where = `messages[${i}]`;
    if (!isObject(message)) throw invalid("an object with role and content", where, message);
    if (typeof message.role !== "string" || message.role === "")
      throw invalid("a non-empty string", `${where}.role`, message.role);
    const content = message.content;
    if (typeof content !== "string" && content !== undefined && content !== null && !Array.isArray(content))
      throw invalid("a string, null or an array of parts", `${where}.content`, content);
    checkToolCalls(message.tool_calls, `${where}.tool_calls`);
  });
  return plain(messages, "messages", 0);
}

function checkToolCalls(calls: unknown, where: string): void {
  if (calls === undefined || calls === null) return;
  if (!Array.isArray(calls)) throw invalid("an array of tool calls", where, calls);
  itemsOf(calls, where, MAX_ITEMS).forEach((call, i) => {
    const inner = isObject(call) && isObject(call.function) ? call.function : call;
    if (!isObject(inner) || typeof inner.name !== "string")
      throw invalid("{ name, arguments }, bare or under `function`,", `${where}[${i}]`, call);
  });
}

function checkTools(tools: unknown): unknown {
  if (tools === undefined || tools === null) return null;
  if (!Array.isArray(tools)) throw invalid("an array of tools", "tools", tools);
  itemsOf(tools, "tools", MAX_ITEMS).forEach((tool, i) => {
    if (!isObject(tool)) throw invalid("an object that describes a tool", `tools[${i}]`, tool);
  });
  return plain(tools, "tools", 0);
}

/**
 * A copy in plain JSON values. Keys set to undefined are absent (JSON.stringify's rule, which the template's tojson
 * would not follow); everything that JSON has no form for is refused with its path.
 */
function plain(value: unknown, path: string, depth: number): unknown {
  if (depth > MAX_DEPTH) throw invalid(`at most ${MAX_DEPTH} levels of nesting`, path, value);
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (Array.isArray(value))
    return itemsOf(value, path, MAX_ITEMS).map((item, i) => plain(item ?? null, `${path}[${i}]`, depth + 1));
  if (isObject(value)) {
    const prototype = Object.getPrototypeOf(value) as unknown;
    if (prototype === null || Object.getPrototypeOf(prototype) === null) {
      const entries = Object.entries(value).filter(([, item]) => item !== undefined);
      return Object.fromEntries(
        entries.map(([key, item]) => [key, plain(item, `${path}.${key}`, depth + 1)]),
      );
    }
  }
  throw invalid("a JSON value", path, value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
