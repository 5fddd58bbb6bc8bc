/** The comparison with the golden transcripts: that it can fail, for each thing that may differ. */
import { expect, it } from "vitest";
import { compareWithGolden } from "../../examples/demo/golden.mjs";

const GOLDEN = {
  bf16_rms: 0.01, // gaps below 0.04 may flip
  tasks: [
    {
      id: "a",
      success: true,
      turns: [
        { prompt_tokens: [1, 2], tokens: [3, 4, 5], gaps: [9, 0.039, 0.04] },
        { prompt_tokens: [1, 2, 3], tokens: [6], gaps: [9] },
      ],
    },
    { id: "b", success: false, turns: [{ prompt_tokens: [1], tokens: [7], gaps: [9] }] },
  ],
};

/** Attempts that agree with GOLDEN, after `change` to the first. */
function compare(change = () => {}) {
  const attempts = structuredClone(GOLDEN.tasks).map(({ turns, ...task }) => ({
    ...task,
    turns: turns.map(({ prompt_tokens, tokens }) => ({ prompt: prompt_tokens, tokens })),
  }));
  change(attempts[0], attempts);
  return compareWithGolden(GOLDEN, attempts, (_attempt, turn) => turn.prompt);
}

it("counts everything when nothing differs", () => {
  expect(compare()).toEqual({ tokens: 5, tokensAgree: 5, prompts: 3, promptsAgree: 3, differences: [] });
});

it("allows a token with a small gap to differ, and what follows in that task", () => {
  const result = compare((attempt) => {
    attempt.turns[0].tokens[1] = 99;
    attempt.turns.length = 1;
    attempt.success = false;
  });
  expect(result).toMatchObject({ tokens: 5, tokensAgree: 2, promptsAgree: 2 });
  expect(result.differences).toMatchObject([{ id: "a", turn: 0, step: 1, gap: 0.039, allowed: true }]);
});

it.each([
  [
    "a token with a large gap",
    (attempt) => (attempt.turns[0].tokens[2] = 99),
    { turn: 0, step: 2, gap: 0.04 },
  ],
  ["a missing token", (attempt) => attempt.turns[0].tokens.pop(), { turn: 0, step: 2 }],
  ["a token too many", (attempt) => attempt.turns[0].tokens.push(99), { turn: 0, step: 3 }],
  ["a prompt", (attempt) => (attempt.turns[1].prompt[2] = 99), { turn: 1, step: 2 }],
  ["a missing turn", (attempt) => attempt.turns.pop(), { turn: 1 }],
  ["a turn too many", (attempt) => attempt.turns.push(attempt.turns[1]), { turn: 2 }],
  ["the outcome", (attempt) => (attempt.success = false), { turn: 2 }],
  ["a task not attempted", (_, attempts) => attempts.shift(), { turn: 0 }],
])("does not allow %s to differ", (_, change, where) => {
  expect(compare(change).differences).toMatchObject([{ id: "a", ...where, allowed: false }]);
});
