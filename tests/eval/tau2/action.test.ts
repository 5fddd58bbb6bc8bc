// What an agent's text becomes. The original's own vectors are replayed in replay.test.ts.
import { expect, it } from "vitest";
import { environmentAction, parseAction, readAction } from "../../../src/eval/tau2/action.js";
import { followUp } from "../../../src/eval/tau2/observation.js";

const call = (json: string) => `<tool_call>${json}</tool_call>`;

it.each([
  [
    '{"name": "f", "arguments": {"a": 1, "b": 1.0, "c": "it\'s", "d": [true, null], "e": {"é": "\\n"}}}',
    "f(a=1, b=1.0, c=\"it's\", d=[True, None], e={'é': '\\n'})",
  ],
  ['{"name": "f"}', "f()"],
  ['{"name": "f", "arguments": 0}', "f()"],
  ['{"name": "f", "arguments": "{\\"a\\": 1e400}"}', "f(a=inf)"],
  ['{"name": "a b", "arguments": {"from": 1, "from": 2}}', "a b(from=2)"],
])("%s is the action %s", (json, text) => {
  const action = parseAction(` ${call(json)}\n`);
  expect(action.rawActionCall).toBe(text);
  expect(environmentAction(action)).toBe(text);
});

it.each([
  ["hello", "Missing <tool_call>...</tool_call> block"],
  ["<think></think><tool_call>{}</tool_call>", "Unexpected text outside <tool_call> block"],
  ["<tool_call>{}", "Missing </tool_call> for <tool_call> block"],
  [call("{}") + call("{}"), "Multiple <tool_call> blocks found; expected exactly one"],
  [call("{}"), "Tool call missing non-empty 'name'"],
  [call("[]"), "'list' object has no attribute 'get'"],
  [call('{"name": "f", "arguments": [1]}'), "Tool call 'arguments' must be an object"],
  [call("{'name': 1}"), "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"],
  [call(""), "Expecting value: line 1 column 1 (char 0)"],
])("%s is none", (text, message) => {
  expect(() => parseAction(text)).toThrow(message);
});

it.each([
  ["get_user_details(user_id='x')", { name: "get_user_details", requestor: "assistant" }],
  ["ok (thanks)", { name: "ok", requestor: "assistant" }],
  ['{"name": "f", "arguments": {}, "requestor": "user", "more": 1}', { name: "f", requestor: "user" }],
])("%s is a call to the environment", (action, expected) => {
  expect(readAction(action)).toMatchObject({ call: expected });
});

it.each([
  "I am done (really done)",
  '{"name": "f", "arguments": []}',
  '{"name": "f", "arguments": {"a": "\\ud800"}}',
  "f(a=-inf)",
  " x ",
])("%s is words", (action) => {
  expect(readAction(action)).toEqual({ text: action });
});

it("keeps of a longer message what its first line says, and what begins as one", () => {
  const said = "user: first\nsecond: line\nUser: third\n  tool: fourth";
  expect(followUp(said, { name: "respond", rawActionCall: "" })).toEqual([
    { role: "user", content: "first\nthird" },
  ]);
  expect(followUp(said, { name: "f", rawActionCall: "f()" })).toEqual([
    { role: "user", content: "Tool result for f():\nfourth" },
    { role: "user", content: "first\nthird" },
  ]);
  expect(followUp("", { name: "f", rawActionCall: "f()" })).toEqual([
    { role: "user", content: "Tool result for f():\n[no_observation]" },
  ]);
});
