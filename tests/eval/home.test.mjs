/** The home domain's episodes against scripted answers: what ends an attempt, and what goes back to the model. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { parseToolCalls } from "../../src/chat/tool-calls.ts";
import { playAttempt } from "../../src/eval/agent.ts";
import { homeDomain } from "../../src/eval/home/home.ts";

const off = { lights: { attic: "off" }, thermostats: { attic: 20 }, locks: {}, reminders: [] };
const on = { ...off, lights: { attic: "on" } };
const call = { name: "set_light", arguments: { room: "attic", state: "on" } };
const TASK = {
  ...{ id: "t", split: "test", request: "light!" },
  ...{ initial_state: off, expected_state: on, expected_calls: [call] },
};
const SWITCH =
  '<tool_call>\n{"name": "set_light", "arguments": {"room": "attic", "state": "on"}}\n</tool_call>';

function homeOf(files = {}) {
  const data = mkdtempSync(join(tmpdir(), "lockstep-home-"));
  onTestFinished(() => rmSync(data, { recursive: true }));
  const all = {
    "system.txt": "be good",
    "tools.json": "[{}]",
    "tasks.jsonl": JSON.stringify(TASK),
    ...files,
  };
  for (const [name, text] of Object.entries(all))
    if (text !== undefined) writeFileSync(join(data, name), text);
  return homeDomain({ data });
}

/** An engine that answers with `texts` in turn, the last one for ever. */
function scripted(...texts) {
  const prompts = [];
  return {
    prompts,
    async generate(prompt, sampling) {
      expect(sampling).toMatchObject({ temperature: 0, maxTokens: 96 });
      const text = texts[Math.min(prompts.length, texts.length - 1)];
      prompts.push(structuredClone(prompt));
      const usage = { promptTokens: 5, completionTokens: 1, cachedTokens: 0 };
      return { text, tokens: [7], toolCalls: parseToolCalls(text), usage };
    },
  };
}

async function attempt(engine) {
  const domain = homeOf();
  const { outcome } = await playAttempt(engine, domain, domain.tasks("test")[0]);
  return outcome;
}

it("carries the call and its answer into the next turn and judges the state at the end", async () => {
  const engine = scripted(SWITCH, "Done.");
  expect(await attempt(engine)).toMatchObject({ success: true, status: "completed", steps: 2, reward: 1 });
  const first = [
    { role: "system", content: "be good" },
    { role: "user", content: "light!" },
  ];
  const answer = { role: "tool", content: '{"ok": true}' };
  const asked = { role: "assistant", content: "", tool_calls: [{ type: "function", function: call }] };
  expect(engine.prompts).toEqual([
    { messages: first, tools: [{}] },
    { messages: [...first, asked, answer], tools: [{}] },
  ]);
});

it("says what was checked, and what happened turn by turn", async () => {
  const wrong = SWITCH.replace('"on"', '"dim"');
  expect(await attempt(scripted(wrong, "Done."))).toMatchObject({
    ...{ success: false, status: "completed", reward: 0, partialScore: 0, partialComponents: { actions: 0 } },
    rewardInfo: {
      state_check: [{ place: "lights: attic", expected: "on", found: "dim", match: false }],
      action_checks: [{ action: call, made: false }],
    },
    transcript: {
      reset_followup: [{ role: "system" }, { role: "user", content: "light!" }],
      steps: [
        { assistant_text: wrong, followup: [{ role: "tool", content: '{"ok": true}' }] },
        { assistant_text: "Done." },
      ],
    },
  });
});

it.each([
  ["a final state that is wrong", ["Done."], 1, "completed"],
  ["a call that does not parse", [SWITCH, "<tool_call>\n{oops}\n</tool_call>", "Done."], 2, "parse_error"],
  ["a call that does not end", [SWITCH, SWITCH.slice(0, -4), "Done."], 2, "parse_error"],
  ["a good call behind a bad one", [`<tool_call>oops</tool_call>${SWITCH}`, "Done."], 1, "parse_error"],
  [
    "an unknown argument",
    [SWITCH.replace('"state"', '"colour": "red", "state"'), "Done."],
    1,
    "invalid_call",
  ],
  ["calls without end", [SWITCH], 12, "truncated"],
])("fails for %s", async (_, texts, steps, status) => {
  expect(await attempt(scripted(...texts))).toMatchObject({ success: false, steps, status });
});

it("goes on after an unknown room, as the model is told of it", async () => {
  const engine = scripted(SWITCH.replace("attic", "moon"), SWITCH, "Done.");
  expect((await attempt(engine)).success).toBe(true);
  expect(engine.prompts[1].messages[3]).toEqual({
    role: "tool",
    content: '{"error": "unknown room: moon"}',
  });
});

it.each([
  ["a file that is not there", { "tools.json": undefined }, /Expected tools\.json .* ENOENT/],
  ["a line that is no JSON", { "tasks.jsonl": "{}x" }, /tasks\.jsonl .* in line 1 it is no JSON/],
  ["a task that lacks something", { "tasks.jsonl": '{"id": "a"}' }, /line 1 has no split/],
])("refuses %s", (_, files, message) => {
  expect(() => homeOf(files)).toThrow(message);
});
