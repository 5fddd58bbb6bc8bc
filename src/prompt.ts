/**
 * From what a caller passes as a prompt to token ids: template, then tokenizer. Main thread; long conversations and texts
 * are rendered and encoded in worker threads.
 */
import type { AsyncRenderer } from "./chat/async-renderer.js";
import type { ChatMessage, Tool } from "./chat/types.js";
import { boolean, type Check, checkOptions, isList, string, tokenIds } from "./check.js";
import { invalid, LockstepError } from "./errors.js";
import type { AsyncEncoder } from "./tokenizer/async-encoder.js";
import { requireWellFormed } from "./tokenizer/text.js";
import type { Tokenizer } from "./tokenizer/tokenizer.js";

export type Prompt =
  | string
  | { text: string }
  | { tokens: ArrayLike<number> }
  | {
      messages: ChatMessage[];
      tools?: Tool[] | undefined;
      enableThinking?: boolean | undefined;
      chatTemplate?: string | undefined;
      /** Default true. */
      addGenerationPrompt?: boolean | undefined;
    };

/** The text side of a checkpoint; absent where it has no tokenizer files. */
export interface TextSide {
  tokenizer: Tokenizer;
  encoder: AsyncEncoder;
  renderer: AsyncRenderer;
}

/** What is known of a text's ids before there are any. */
export interface TextLength {
  /** In UTF-16 units. */
  length: number;
  fewestTokens: number;
}

/** A prompt that has been checked: encoding it is all that is left. */
export interface PromptEncoding {
  /**
   * Called again, it gives the same ids. `check` hears of a text's length, or of the number of ids given; what it throws
   * refuses the prompt before anything is encoded. It must refuse more ids than the context holds: they were not read.
   */
  encode(check: (length: TextLength | number) => void): Promise<Int32Array> | Int32Array;
  /** Of a conversation that takes long to render: settles when that is done; rejects where it is refused. */
  rendering?: Promise<unknown>;
}

const anything: Check<unknown> = (value) => value;

/** What ids are checked against. */
export interface IdLimits {
  vocabSize: number;
  maxContext: number;
}

/** Checks the prompt and begins to render its template; the encoding is left to the caller. Throws on bad input. */
export function checkPrompt(prompt: unknown, text: TextSide | undefined, limits: IdLimits): PromptEncoding {
  if (typeof prompt === "string") return encodeText(prompt, text);
  if (typeof prompt !== "object" || prompt === null || Array.isArray(prompt))
    throw invalid("a string or an object with text, tokens or messages", "prompt", prompt);
  const given = checkOptions<PromptKeys>(prompt, "prompt", {
    text: string,
    tokens: givenIds(limits),
    messages: anything,
    tools: anything,
    enableThinking: boolean,
    chatTemplate: string,
    addGenerationPrompt: boolean,
  });
  const forms = kForms.filter((key) => given[key] !== undefined);
  const [form] = forms;
  if (form === undefined || forms.length > 1)
    throw invalid(
      "exactly one of text, tokens and messages",
      "prompt",
      form === undefined ? prompt : forms.join(", "),
    );
  if (form === "messages") return encodeMessages(given, text);
  const stray = Object.keys(given).find((key) => key !== form);
  if (stray !== undefined)
    throw new LockstepError(
      "INVALID_ARGUMENT",
      `Expected ${stray} with messages only in prompt but received it with ${form}`,
    );
  if (form === "text") return encodeText(given.text, text);
  return encodeIds(given.tokens!);
}

/** Ids that a caller gave; without `ids` they are more than the context holds. */
interface GivenIds {
  count: number;
  ids?: Int32Array;
}

function givenIds({ vocabSize, maxContext }: IdLimits): Check<GivenIds> {
  return (value, where) => {
    if (isList(value) && value.length > maxContext) return { count: value.length };
    const ids = tokenIds(vocabSize)(value, where);
    return { count: ids.length, ids };
  };
}

function encodeIds({ count, ids }: GivenIds): PromptEncoding {
  if (ids) nonEmpty(ids);
  return {
    encode: (check) => {
      check(count);
      return ids!;
    },
  };
}

const kForms = ["text", "tokens", "messages"] as const;

interface PromptKeys {
  text: string;
  tokens: GivenIds;
  messages: unknown;
  tools: unknown;
  enableThinking: boolean;
  chatTemplate: string;
  addGenerationPrompt: boolean;
}

function encodeMessages(
  { messages, ...options }: Partial<PromptKeys>,
  text: TextSide | undefined,
): PromptEncoding {
  const { tokenizer, renderer } = requireText(text);
  const { template, variables } = tokenizer.chatTemplateCall(
    messages as ChatMessage[],
    {
      addGenerationPrompt: true,
      ...options,
    } as Parameters<Tokenizer["applyChatTemplate"]>[1],
  );
  const encode = (content: string) => {
    if (!content.isWellFormed()) blameMessage(variables.values.messages as ChatMessage[]);
    return encodeText(content, text);
  };
  const rendered = renderer.render(template, variables);
  if (typeof rendered === "string") return encode(rendered);
  const rendering = rendered.then(encode);
  rendering.catch(() => {}); // whoever calls, or waits for it, hears of it
  return { encode: async (check) => (await rendering).encode(check), rendering };
}

/** Of a rendered conversation that has a lone surrogate: where it was given, if it stands in a message's text. */
function blameMessage(messages: readonly ChatMessage[]): void {
  messages.forEach(({ content }, i) => {
    if (typeof content === "string") requireWellFormed(content, `messages[${i}].content`);
  });
}

/** UTF-16 units; more than any context's tokens could write. */
const kMaxText = 2 ** 28;

function encodeText(content: string | undefined, text: TextSide | undefined): PromptEncoding {
  const { tokenizer, encoder } = requireText(text);
  if (content === undefined || content === "") throw invalid("a non-empty text", "prompt", content);
  if (content.length > kMaxText)
    throw new LockstepError(
      "PROMPT_TOO_LONG",
      `Expected a text of at most ${kMaxText} characters for prompt but received ${content.length}`,
    );
  requireWellFormed(content, "prompt");
  let ids: Promise<Int32Array> | undefined;
  return {
    encode: (check) => {
      check({ length: content.length, fewestTokens: tokenizer.fewestTokens(content) });
      ids ??= encoder.encodeAsync(content).then(nonEmpty);
      return ids;
    },
  };
}

function nonEmpty(tokens: Int32Array | undefined): Int32Array {
  if (tokens === undefined || tokens.length === 0)
    throw new LockstepError("INVALID_ARGUMENT", "Expected at least one token for prompt but received none");
  return tokens;
}

export function requireText(text: TextSide | undefined): TextSide {
  if (text === undefined)
    throw new LockstepError(
      "NO_TOKENIZER",
      "This checkpoint has no tokenizer.json: pass token ids ({ tokens }) and no stop strings",
    );
  return text;
}
