/**
 * From what a caller passes as a prompt to token ids: template, then tokenizer. Main thread; long texts are encoded in
 * the tokenizer's worker thread.
 */
import type { ChatMessage, Tool } from "./chat/types.js";
import { boolean, type Check, checkOptions, string, tokenIds } from "./check.js";
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
      tools?: Tool[];
      enableThinking?: boolean;
      chatTemplate?: string;
      /** Default true. */
      addGenerationPrompt?: boolean;
    };

/** The text side of a checkpoint; absent where it has no tokenizer files. */
export interface TextSide {
  tokenizer: Tokenizer;
  encoder: AsyncEncoder;
}

/** A prompt that has been checked: encoding it is all that is left. */
export interface PromptEncoding {
  /** Called again, it gives the same ids. */
  encode(): Promise<Int32Array> | Int32Array;
  /** Of a text: its length in UTF-16 units, and what is known of the ids before there are any. */
  text?: { length: number; fewestTokens: number };
}

const anything: Check<unknown> = (value) => value;

/** Checks the prompt and renders its template now; the encoding is left to the caller. Throws on bad input. */
export function checkPrompt(prompt: unknown, text: TextSide | undefined, vocabSize: number): PromptEncoding {
  if (typeof prompt === "string") return encodeText(prompt, text);
  if (typeof prompt !== "object" || prompt === null || Array.isArray(prompt))
    throw invalid("a string or an object with text, tokens or messages", "prompt", prompt);
  const given = prompt as Record<string, unknown>;
  const forms = ["text", "tokens", "messages"].filter((key) => given[key] !== undefined);
  if (forms.length !== 1)
    throw invalid(
      "exactly one of text, tokens and messages",
      "prompt",
      forms.length === 0 ? prompt : forms.join(", "),
    );
  if (forms[0] === "tokens") {
    const { tokens } = checkOptions<{ tokens: Int32Array }>(prompt, "prompt", {
      tokens: tokenIds(vocabSize),
    });
    const ids = nonEmpty(tokens);
    return { encode: () => ids };
  }
  if (forms[0] === "text") {
    const { text: content } = checkOptions<{ text: string }>(prompt, "prompt", { text: string });
    return encodeText(content, text);
  }
  return encodeText(renderMessages(prompt, text), text);
}

function renderMessages(prompt: object, text: TextSide | undefined): string {
  const { messages, ...options } = checkOptions<{
    messages: unknown;
    tools: unknown;
    enableThinking: boolean;
    chatTemplate: string;
    addGenerationPrompt: boolean;
  }>(prompt, "prompt", {
    messages: anything,
    tools: anything,
    enableThinking: boolean,
    chatTemplate: string,
    addGenerationPrompt: boolean,
  });
  return requireText(text).tokenizer.applyChatTemplate(
    messages as ChatMessage[],
    {
      addGenerationPrompt: true,
      ...options,
    } as Parameters<Tokenizer["applyChatTemplate"]>[1],
  );
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
    encode: () => {
      ids ??= encoder.encodeAsync(content).then(nonEmpty);
      return ids;
    },
    text: { length: content.length, fewestTokens: tokenizer.fewestTokens(content) },
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
