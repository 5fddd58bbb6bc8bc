/**
 * A user played by a model behind an OpenAI-compatible endpoint. Main thread; network only while a reply is waited for.
 *
 * Retries, back-off and timeouts are the official client's. What is left after them, and a reply that is none, is thrown and ends that attempt as
 * `user_error`; the endpoint's words are never taken for anything else.
 */
import type OpenAI from "openai";
import { type Check, checkOptions, integer, isPlainObject, number, string } from "../../../check.js";
import { LockstepError } from "../../../index.js";
import { loads } from "../../../python/json.js";
import { type PyArguments, PyError } from "../../../python/types.js";
import { openAiTools, UserSideConversation, type UserSideMessage } from "./messages.js";
import type { User, UserReply } from "./user.js";

export interface OpenAiUserOptions {
  /** Default "gpt-4.1-mini", which published results were made with. */
  model?: string | undefined;
  /** Default: the environment's OPENAI_BASE_URL, else OpenAI's. */
  baseUrl?: string | undefined;
  /** Default: the environment's OPENAI_API_KEY. */
  apiKey?: string | undefined;
  /** Default 0.7. */
  temperature?: number | undefined;
  /** Requests at once, at most. Default 16. Changes no result. */
  concurrency?: number | undefined;
  /** Of one request, in milliseconds. Default 60,000. */
  timeoutMs?: number | undefined;
  /** After the first try: on 408, 409, 429, 5xx, a cut connection or a timeout, with growing pauses or those that Retry-After asks for. Default 5. */
  maxRetries?: number | undefined;
  /** In dollars per million tokens; with it, `user_cost` is counted. */
  price?: { input: number; output: number } | undefined;
}

export const kUserModel = "gpt-4.1-mini";
export const kUserTemperature = 0.7;

const httpUrl: Check<string> = (value, where) => {
  const protocol = URL.canParse(string(value, where)) ? new URL(value as string).protocol : "";
  if (protocol === "http:" || protocol === "https:") return value as string;
  throw new LockstepError(
    "INVALID_ARGUMENT",
    `Expected a http or https URL for ${where} but received '${value}'`,
  );
};
const dollars = number(0, 1e6);
const pricePair: Check<{ input: number; output: number }> = (value, where) => {
  const { input, output } = isPlainObject(value) ? value : {};
  return { input: dollars(input, `${where}.input`), output: dollars(output, `${where}.output`) };
};

function checked(given: OpenAiUserOptions) {
  const baseUrl = given?.baseUrl ?? (process.env.OPENAI_BASE_URL || undefined);
  return checkOptions<OpenAiUserOptions>({ ...given, baseUrl }, "options of an endpoint's user", {
    model: string,
    baseUrl: httpUrl,
    apiKey: string,
    temperature: number(0, 2),
    concurrency: integer(1, 10_000),
    timeoutMs: integer(1, 2 ** 31 - 1),
    maxRetries: integer(0, 1000),
    price: pricePair,
  });
}

/** Throws INVALID_ARGUMENT where an option cannot be, or there is no key. */
export function openAiUser(given: OpenAiUserOptions = {}): User {
  const options = checked(given);
  const { model = kUserModel, temperature = kUserTemperature, concurrency = 16, price } = options;
  const { apiKey = process.env.OPENAI_API_KEY, baseUrl, timeoutMs = 60_000, maxRetries = 5 } = options;
  if (!apiKey)
    throw new LockstepError(
      "INVALID_ARGUMENT",
      `The user's endpoint needs a key: set OPENAI_API_KEY (to any text, where ${baseUrl ?? "the endpoint"} asks for none)`,
    );
  let client: Promise<OpenAI> | undefined; // the package is large: loaded with the first reply
  const connect = async () =>
    new (await import("openai")).default({ apiKey, baseURL: baseUrl, timeout: timeoutMs, maxRetries });
  const limit = limited(concurrency);
  return {
    describe: () => ({
      user: "endpoint",
      model,
      base_url: baseUrl ?? "https://api.openai.com/v1",
      temperature,
      reproducible: temperature === 0 ? "if the endpoint is" : "no",
    }),
    start({ systemPrompt, tools, signal }) {
      const conversation = new UserSideConversation(systemPrompt);
      const given = tools.length === 0 ? {} : { tools: openAiTools(tools), tool_choice: "auto" as const };
      const usage: Record<string, number> = {
        user_requests: 0,
        user_prompt_tokens: 0,
        user_completion_tokens: 0,
      };
      if (price !== undefined) usage.user_cost = 0;
      const ask = async (messages: UserSideMessage[]) => {
        client ??= connect();
        const answer = await (await client).chat.completions.create(
          { model, temperature, messages, ...given },
          { signal },
        );
        count(usage, answer.usage, price);
        return replyOf(answer);
      };
      return {
        usage,
        recall: conversation.recall,
        async reply(heard) {
          conversation.hear(heard);
          const reply = await limit(() => ask(conversation.messages));
          conversation.say(reply);
          return reply;
        },
      };
    },
  };
}

function count(
  usage: Record<string, number>,
  used: OpenAI.CompletionUsage | undefined,
  price: OpenAiUserOptions["price"],
): void {
  const [input, output] = [used?.prompt_tokens, used?.completion_tokens].map((n) =>
    Number.isFinite(n) ? n! : 0,
  ) as [number, number];
  usage.user_requests! += 1;
  usage.user_prompt_tokens! += input;
  usage.user_completion_tokens! += output;
  if (price !== undefined) usage.user_cost! += (input * price.input + output * price.output) / 1e6;
}

/** Anything may come back: only what has the form of a reply is one. */
function replyOf(answer: OpenAI.ChatCompletion): UserReply {
  const message = answer?.choices?.[0]?.message;
  if (typeof message !== "object" || message === null)
    throw new Error("the endpoint's answer holds no message");
  if (typeof (message.content ?? "") !== "string")
    throw new Error("the endpoint's answer holds a message that is no text");
  const toolCalls = (message.tool_calls ?? []).map((call) => {
    if (call.type !== "function" || typeof call.function?.name !== "string")
      throw new Error("the endpoint's answer holds a call without a function");
    return { name: call.function.name, arguments: argumentsOf(call.function.name, call.function.arguments) };
  });
  return {
    ...(message.content ? { text: message.content } : {}),
    ...(toolCalls.length > 0 ? { toolCalls } : {}),
  };
}

function argumentsOf(name: string, text: string): PyArguments {
  try {
    const given = loads(text);
    if (given instanceof Map) return given as PyArguments;
  } catch (error) {
    if (!(error instanceof PyError)) throw error;
  }
  throw new Error(
    `the arguments of ${name} are no JSON object: ${JSON.stringify(String(text).slice(0, 80))}`,
  );
}

/** So many at once; the others wait in their order. */
function limited(most: number): <T>(body: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (body) => {
    if (running >= most) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await body();
    } finally {
      const next = waiting.shift(); // takes over this place, so that no newcomer can
      if (next === undefined) running--;
      else next();
    }
  };
}
