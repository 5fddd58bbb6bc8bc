/** The demo's tool loop against scripted answers: what ends an attempt, and what goes back to the model. */
import { expect, it } from "vitest";
import { runEpisode } from "../../examples/demo/episode.mjs";
import { parseToolCalls } from "../../src/chat/tool-calls.ts";

const off = { lights: { attic: "off" }, thermostats: { attic: 20 }, locks: {}, reminders: [] };
const on = { ...off, lights: { attic: "on" } };
const TASK = { id: "t", request: "light!", initial_state: off, expected_state: on };
const SWITCH =
  '<tool_call>\n{"name": "set_light", "arguments": {"room": "attic", "state": "on"}}\n</tool_call>';

/** An engine that answers with `texts` in turn, the last one for ever. */
function scripted(...texts) {
  const prompts = [];
  const engine = {
    prompts,
    async generate(prompt, sampling) {
      expect(sampling).toEqual({ temperature: 0, maxTokens: 96 });
      const text = texts[Math.min(prompts.length, texts.length - 1)];
      prompts.push(structuredClone(prompt));
      return { text, tokens: [7], toolCalls: parseToolCalls(text), usage: { promptTokens: 5 } };
    },
  };
  return engine;
}

const attempt = (engine) => runEpisode(engine, TASK, { system: "be good", tools: ["tools"] });

it("carries the call and its answer into the next turn and judges the state at the end", async () => {
  const engine = scripted(SWITCH, "Done.");
  expect(await attempt(engine)).toMatchObject({
    success: true,
    turns: [
      { messageCount: 2, tokens: [7], promptTokens: 5 },
      { messageCount: 4, tokens: [7], promptTokens: 5 },
    ],
  });
  const call = { name: "set_light", arguments: { room: "attic", state: "on" } };
  const first = [
    { role: "system", content: "be good" },
    { role: "user", content: "light!" },
  ];
  expect(engine.prompts).toEqual([
    { messages: first, tools: ["tools"] },
    {
      messages: [
        ...first,
        { role: "assistant", content: "", tool_calls: [{ type: "function", function: call }] },
        { role: "tool", content: '{"ok": true}' },
      ],
      tools: ["tools"],
    },
  ]);
  expect(TASK.initial_state.lights.attic).toBe("off");
});

it.each([
  ["a final state that is wrong", ["Done."], 1],
  ["a call that does not parse", [SWITCH, "<tool_call>\n{oops}\n</tool_call>", "Done."], 2],
  ["a call that does not end", [SWITCH, SWITCH.slice(0, -4), "Done."], 2],
  ["a good call behind a bad one", [`<tool_call>oops</tool_call>${SWITCH}`, "Done."], 1],
  ["an unknown argument", [SWITCH.replace('"state"', '"colour": "red", "state"'), "Done."], 1],
  ["calls without end", [SWITCH], 12],
])("fails for %s", async (_, texts, turns) => {
  const result = await attempt(scripted(...texts));
  expect(result.success).toBe(false);
  expect(result.turns).toHaveLength(turns);
});

it("goes on after an unknown room, as the model is told of it", async () => {
  const result = await attempt(scripted(SWITCH.replace("attic", "moon"), SWITCH, "Done."));
  expect(result.success).toBe(true);
  expect(result.messages[3]).toEqual({ role: "tool", content: '{"error": "unknown room: moon"}' });
});

it("rejects when the engine does", async () => {
  const engine = { generate: () => Promise.reject(new Error("no memory")) };
  await expect(attempt(engine)).rejects.toThrow("no memory");
});
