/**
 * Owns the shapes of a conversation: messages, tools and tool calls, as OpenAI and Hugging Face spell them.
 *
 * Types only, any thread. Must not hold code: what is valid at run time is checked in template.ts.
 */

/** A part of a message's content. Qwen3's own templates read strings only; other templates may read parts. */
export interface ContentPart {
  type: string;
  text?: string | undefined;
  [key: string]: unknown;
}

/** A call as it is read from a model's text, or as a Qwen3 template takes it. */
export interface ToolCall {
  name: string;
  arguments: Record<string, unknown>;
}

/** A call as it stands in an assistant message: OpenAI's wrapper (arguments may be a JSON string there) or the bare call. */
export type MessageToolCall =
  | ToolCall
  | {
      id?: string | undefined;
      type?: "function" | undefined;
      function: { name: string; arguments: Record<string, unknown> | string };
    };

export interface ChatMessage {
  /** "system", "user", "assistant" or "tool"; a custom template may know others. */
  role: string;
  content?: string | ContentPart[] | null | undefined;
  /** The thinking of an assistant turn, without its <think> tags. */
  reasoning_content?: string | null | undefined;
  tool_calls?: MessageToolCall[] | null | undefined;
  name?: string | undefined;
  tool_call_id?: string | undefined;
  /** Further keys reach the template as they are. */
  [key: string]: unknown;
}

/** A tool as the model sees it: `{ type: "function", function: { name, description, parameters } }`, rendered as JSON. */
export interface Tool {
  type?: string | undefined;
  function?: {
    name: string;
    description?: string | undefined;
    parameters?: Record<string, unknown> | undefined;
    [key: string]: unknown;
  };
  [key: string]: unknown;
}
