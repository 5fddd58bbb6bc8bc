/** A user played by a model in this process: the engine that is evaluated, or a second one. Its requests run in the same batches. */
import { checkOptions, integer, number, oneOf, string } from "../../../check.js";
import type { ChatMessage, Engine, Tool } from "../../../index.js";
import { loads } from "../../../python/json.js";
import { type PyArguments, type PyDict, PyError } from "../../../python/types.js";
import { bareTools, openAiTools, UserSideConversation } from "./messages.js";
import type { User, UserReply } from "./user.js";

export interface EngineUserOptions {
  engine: Pick<Engine, "generate">;
  /** What the report calls it. */
  name: string;
  /** Default 0.7; 0 is greedy. */
  temperature?: number | undefined;
  /** Of one reply. Default 1,024. */
  maxTokens?: number | undefined;
  /**
   * "parsed": calls that the model writes are made. "speech": they go to the agent as words and no tool ever runs, and the template gets bare functions for
   * tools, as with the original's local server, which was started without a parser of tool calls; a template that wants `tool.function`, unlike Qwen3's,
   * cannot show those. Default "parsed".
   */
  toolCalls?: "parsed" | "speech" | undefined;
}

/** More turns than any attempt has: what tells the draws of one sample's turns from another's. */
const kTurnsOfASample = 1024;

/** Throws INVALID_ARGUMENT where an option cannot be. */
export function engineUser({ engine, ...given }: EngineUserOptions): User {
  const { name, ...options } = checkOptions<Omit<EngineUserOptions, "engine">>(
    given,
    "options of an engine's user",
    {
      name: string,
      temperature: number(0, 2),
      maxTokens: integer(1, 2 ** 31 - 1),
      toolCalls: oneOf("parsed", "speech"),
    },
  );
  const { temperature = 0.7, maxTokens = 1024, toolCalls = "parsed" } = options;
  const toolsOf = toolCalls === "speech" ? bareTools : openAiTools;
  return {
    describe: () => ({
      user: "engine",
      model: name,
      temperature,
      max_tokens: maxTokens,
      tool_calls: toolCalls,
      reproducible: "yes",
    }),
    start({ systemPrompt, tools, sample, seed, signal }) {
      const conversation = new UserSideConversation(systemPrompt);
      const usage: Record<string, number> = {
        user_requests: 0,
        user_prompt_tokens: 0,
        user_completion_tokens: 0,
      };
      const given = tools.length === 0 ? {} : { tools: toolsOf(tools) as Tool[] };
      return {
        usage,
        recall: conversation.recall,
        async reply(heard) {
          conversation.hear(heard);
          const sampleIndex = sample * kTurnsOfASample + usage.user_requests!;
          const generation = await engine.generate(
            { messages: conversation.messages as ChatMessage[], enableThinking: false, ...given },
            { temperature, maxTokens, seed: seed + 1, sampleIndex, signal }, // not the agent's draws
          );
          usage.user_requests! += 1;
          usage.user_prompt_tokens! += generation.usage.promptTokens;
          usage.user_completion_tokens! += generation.usage.completionTokens;
          const reply = toolCalls === "speech" ? { text: generation.text } : replyOf(generation.text);
          conversation.say(reply);
          return reply;
        },
      };
    },
  };
}

const BLOCK = /<tool_call>([\s\S]*?)<\/tool_call>/g;

/** Calls in the text's order; a block that cannot be read stays words. */
function replyOf(text: string): UserReply {
  const toolCalls: { name: string; arguments: PyArguments }[] = [];
  const words = text.replace(BLOCK, (block, inner: string) => {
    const call = callOf(inner);
    if (call === undefined) return block;
    toolCalls.push(call);
    return "";
  });
  return { text: words.trim(), ...(toolCalls.length > 0 ? { toolCalls } : {}) };
}

function callOf(text: string): { name: string; arguments: PyArguments } | undefined {
  try {
    const call = loads(text.trim());
    const [name, given] = call instanceof Map ? [call.get("name"), call.get("arguments") ?? new Map()] : [];
    if (typeof name === "string" && given instanceof Map)
      return { name, arguments: given as PyDict as PyArguments };
  } catch (error) {
    if (!(error instanceof PyError)) throw error;
  }
  return undefined;
}
