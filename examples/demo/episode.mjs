/**
 * One attempt at one task, with the turns that the engine was asked for: what the comparison with the golden transcripts
 * needs beside the outcome. Runs on the main thread, many at a time: the engine batches them.
 */
import { playAttempt } from "lockstep/eval";

/**
 * Resolves with { id, success, reason, messages, turns }. `turns[i]` is { messageCount, tokens, promptTokens }: the
 * answer to the first `messageCount` messages, and how many tokens those were.
 * What the model does wrong ends the attempt as failed; what the engine does wrong rejects.
 */
export async function runEpisode(engine, domain, task) {
  const turns = [];
  let messages = [];
  const recorder = {
    async generate(prompt, sampling) {
      const answer = await engine.generate(prompt, sampling);
      messages = prompt.messages;
      const { promptTokens } = answer.usage;
      turns.push({ messageCount: messages.length, tokens: answer.tokens, promptTokens });
      return answer;
    },
  };
  const { outcome } = await playAttempt(recorder, domain, task);
  const { success, status, error } = outcome;
  if (status === "engine_error") throw new Error(`${task.id}: ${error}`);
  return { id: task.id, success, reason: error ?? status, messages, turns };
}
