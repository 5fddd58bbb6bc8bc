/** A simulated user's conversation from its own side: it is the assistant there, and the agent is its user. Owns one session's history. */
import { dumps } from "../../../python/json.js";
import type { PyDict } from "../../../python/types.js";
import type { ToolSchema } from "../tool-schemas.js";
import type { Heard, UserReply } from "./user.js";

export type UserSideMessage =
  | { role: "system" | "user"; content: string }
  | { role: "assistant"; content: string; tool_calls?: UserSideCall[] }
  | { role: "tool"; content: string; tool_call_id: string };

export interface UserSideCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

export class UserSideConversation {
  readonly messages: UserSideMessage[];
  #calls: UserSideCall[] = []; // of the last reply

  constructor(systemPrompt: string) {
    this.messages = [{ role: "system", content: systemPrompt }];
  }

  hear(heard: Heard): void {
    if ("text" in heard) this.messages.push({ role: "user", content: heard.text });
    else
      for (const [i, { content }] of heard.results.entries())
        this.messages.push({ role: "tool", content, tool_call_id: this.#calls[i]!.id });
  }

  readonly recall = (heard: Heard, reply: UserReply): void => {
    this.hear(heard);
    this.say(reply);
  };

  say({ text = "", toolCalls = [] }: UserReply): void {
    this.#calls = toolCalls.map((call, i) => ({
      id: `call_${this.messages.length}_${i}`,
      type: "function",
      function: { name: call.name, arguments: dumps(call.arguments) },
    }));
    const calls = this.#calls.length === 0 ? {} : { tool_calls: this.#calls };
    this.messages.push({ role: "assistant", content: text, ...calls });
  }
}

/** In OpenAI's form. */
export function openAiTools(tools: ToolSchema[]) {
  return tools.map(({ name, description, parameters }) => ({
    type: "function" as const,
    function: { name, description, parameters: plainJson(parameters) },
  }));
}

/** As SGLang hands them to a template. */
export function bareTools(tools: ToolSchema[]) {
  return tools.map(({ name, description, parameters }) => {
    return { description, name, parameters: plainJson(parameters), strict: false };
  });
}

/** As JSON.parse gives it. */
export function plainJson(value: PyDict): Record<string, unknown> {
  return JSON.parse(dumps(value));
}
