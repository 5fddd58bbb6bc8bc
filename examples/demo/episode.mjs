/**
 * One attempt at one task: the loop of model answer, tool call and tool answer.
 *
 * Owns the conversation of its attempt. Runs on the main thread, many at a time, each awaiting its own generations:
 * the engine batches them. Must not score by what the model says, only by the state it leaves behind.
 */
import { callTool, sameHome } from "./home.mjs";

export const MAX_TURNS = 12;
const GREEDY = { temperature: 0, maxTokens: 96 };

/**
 * Resolves with { id, success, reason, messages, turns }. `turns[i]` is { messageCount, tokens, promptTokens }: the
 * answer to the first `messageCount` messages, and how many tokens those were.
 * What the model does wrong ends the attempt as failed; what the engine does wrong rejects.
 */
export async function runEpisode(engine, task, { system, tools }) {
  const home = structuredClone(task.initial_state);
  const messages = firstMessages(task, system);
  const turns = [];
  const end = (success, reason) => ({ id: task.id, success, reason, messages, turns });

  while (turns.length < MAX_TURNS) {
    const answer = await engine.generate({ messages, tools }, GREEDY);
    const { promptTokens } = answer.usage;
    turns.push({ messageCount: messages.length, tokens: answer.tokens, promptTokens });

    const { call, result, failure } = carryOut(home, answer);
    if (failure !== undefined) return end(false, failure);
    if (!call) {
      const success = sameHome(home, task.expected_state);
      return end(success, success ? "done" : "wrong final state");
    }
    // The call goes back parsed, for the template to write in its own form, as in the training conversations.
    messages.push({ role: "assistant", content: "", tool_calls: [{ type: "function", function: call }] });
    messages.push({ role: "tool", content: result });
  }
  return end(false, `no final answer in ${MAX_TURNS} turns`);
}

export function firstMessages(task, system) {
  return [
    { role: "system", content: system },
    { role: "user", content: task.request },
  ];
}

/**
 * Does what an answer asks for: { call, result } where it has a call, {} where it is the final one, and { failure } where
 * it ends the attempt.
 */
export function carryOut(home, { text, toolCalls = [] }) {
  const begun = text.split("<tool_call>").length - 1;
  if (begun === 0) return {};
  if (toolCalls.length !== begun) return { failure: "unparsable call" };
  // One call at a time is the domain's rule: of several, the first counts and the others were never made.
  const [call] = toolCalls;
  try {
    return { call, result: callTool(home, call) };
  } catch (error) {
    return { failure: error.message };
  }
}
