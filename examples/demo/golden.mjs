/**
 * Compares the demo's transcripts with those that Hugging Face transformers made of the same tasks (golden.json).
 *
 * Owns the rule for what may differ: a token where the golden run's best two logits were closer than
 * GAP_LIMIT × bf16_rms, and then everything after it in that task. Plain synchronous functions. Must count what is
 * missing or left over as a difference too.
 */
const GAP_LIMIT = 4;

/**
 * `attempts`: what runEpisode resolved with. `promptOf(attempt, turn)` gives the token ids of that turn's prompt.
 * Returns { tokens, tokensAgree, prompts, promptsAgree, differences }. A task's first difference ends its comparison:
 * { id, turn, step, what, gap, allowed }.
 */
export function compareWithGolden(golden, attempts, promptOf) {
  const byId = new Map(attempts.map((attempt) => [attempt.id, attempt]));
  const result = { tokens: 0, tokensAgree: 0, prompts: 0, promptsAgree: 0, differences: [] };
  for (const task of golden.tasks) {
    result.prompts += task.turns.length;
    for (const turn of task.turns) result.tokens += turn.tokens.length;
    const difference = compareTask(task, byId.get(task.id), promptOf, result);
    if (difference) {
      const allowed = difference.gap < GAP_LIMIT * golden.bf16_rms;
      result.differences.push({ id: task.id, ...difference, allowed });
    }
  }
  return result;
}

/** The first difference of one task, or undefined; counts what agrees before it into `result`. */
function compareTask(task, attempt, promptOf, result) {
  const differs = (turn, step, what, gap = Number.POSITIVE_INFINITY) => ({ turn, step, what, gap });
  if (!attempt) return differs(0, 0, "was not attempted");
  for (const [i, turn] of task.turns.entries()) {
    const ours = attempt.turns[i];
    if (!ours) return differs(i, 0, `ended before this turn: ${attempt.reason}`);
    const prompt = promptOf(attempt, ours);
    const at = firstDifference(turn.prompt_tokens, prompt);
    if (at >= 0) return differs(i, at, `prompt token ${prompt[at]} instead of ${turn.prompt_tokens[at]}`);
    result.promptsAgree += 1;
    const step = firstDifference(turn.tokens, ours.tokens);
    result.tokensAgree += step < 0 ? turn.tokens.length : Math.min(step, turn.tokens.length);
    if (step >= 0) {
      const what = `token ${ours.tokens[step]} instead of ${turn.tokens[step]}`;
      return differs(i, step, what, turn.gaps[step]);
    }
  }
  if (attempt.turns.length > task.turns.length) return differs(task.turns.length, 0, "has a turn too many");
  if (attempt.success !== task.success) return differs(task.turns.length, 0, `success is ${attempt.success}`);
  return undefined;
}

/** The first index at which the two lists differ, a missing entry included; -1 when they are equal. */
function firstDifference(a, b) {
  for (let i = 0; i < Math.max(a.length, b.length); ++i) if (a[i] !== b[i]) return i;
  return -1;
}
