/**
 * One attempt at one task: the loop of model answer, tool call and tool answer.
 *
 * Owns the conversation of its attempt. Runs on the main thread, many at a time, each awaiting its own generations:
 * the engine batches them. Must not score by what the model says, only by the state it leaves behind.
 */
import { callTool, sameHome } from "./home.mjs";

const MAX_TURNS = 12;
const GREEDY = { temperature: 0, maxTokens: 96 };

/**
 * Resolves with { id, success, reason, messages, turns }. `turns[i]` is { messageCount, tokens, promptTokens }: the
 * answer to the first `messageCount` messages, and how many tokens those were.
 * What the model does wrong ends the attempt as failed; what the engine does wrong rejects.
 */
export async function runEpisode(engine, task, { system, tools }) {
  const home = structuredClone(task.initial_state);
  const messages = [
    { role: "system", content: system },
    { role: "user", content: task.request },
  ];
  const turns = [];
  const end = (success, reason) => ({ id: task.id, success, reason, messages, turns });

  while (turns.length < MAX_TURNS) {
    const answer = await engine.generate({ messages, tools }, GREEDY);
    const { promptTokens } = answer.usage;
    turns.push({ messageCount: messages.length, tokens: answer.tokens, promptTokens });

    const begun = answer.text.split("<tool_call>").length - 1;
    if (begun === 0) {
      const success = sameHome(home, task.expected_state);
      return end(success, success ? "done" : "wrong final state");
    }
    const calls = answer.toolCalls ?? [];
    if (calls.length !== begun) return end(false, "unparsable call");
    // One call at a time is the domain's rule: of several, the first counts and the others were never made.
    const [call] = calls;
    let result;
    try {
      result = callTool(home, call);
    } catch (error) {
      return end(false, error.message);
    }
    // The call goes back parsed, for the template to write in its own form, as in the training conversations.
    messages.push({ role: "assistant", content: "", tool_calls: [{ type: "function", function: call }] });
    messages.push({ role: "tool", content: result });
  }
  return end(false, `no final answer in ${MAX_TURNS} turns`);
}
