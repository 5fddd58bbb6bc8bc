/** The home domain: what each tool does and answers, to the letter. */
import { readFileSync } from "node:fs";
import { beforeEach, describe, expect, it } from "vitest";
import { callTool, sameHome } from "../../src/eval/home/rules.ts";

let home;
beforeEach(() => {
  home = {
    lights: { kitchen: "on", "living room": "off" },
    thermostats: { kitchen: 20, "living room": 18 },
    locks: { "front door": "locked" },
    reminders: [],
  };
});

const call = (name, args) => callTool(home, { name, arguments: args });

describe("answers", () => {
  it.each([
    ["get_state", { name: "kitchen" }, '{"room": "kitchen", "light": "on", "celsius": 20}'],
    ["get_state", { name: "front door" }, '{"door": "front door", "lock": "locked"}'],
    ["get_state", { name: "moon" }, '{"error": "unknown name: moon"}'],
    ["set_light", { room: "kitchen", state: "off" }, '{"ok": true}'],
    ["set_light", { room: "moon", state: "off" }, '{"error": "unknown room: moon"}'],
    ["set_thermostat", { room: "moon", celsius: 3 }, '{"error": "unknown room: moon"}'],
    ["set_lock", { door: "moon", state: "locked" }, '{"error": "unknown door: moon"}'],
    ["set_lock", { door: "kitchen", celsius: 17 }, '{"error": "unknown door: kitchen"}'], // the name comes first
    ["add_reminder", { text: "buy milk", time: "07:30" }, '{"ok": true}'],
    ["fly", { to: "the moon" }, '{"error": "unknown tool: fly"}'],
    ["toString", {}, '{"error": "unknown tool: toString"}'],
    ["get_state", { name: "__proto__" }, '{"error": "unknown name: __proto__"}'],
    [
      "get_state",
      { name: 'k\u00e9 "\u007f\u2603\ud83d\ude00\n' },
      '{"error": "unknown name: k\\u00e9 \\"\\u007f\\u2603\\ud83d\\ude00\\n"}',
    ],
  ])("%s %j", (name, args, answer) => {
    expect(call(name, args)).toBe(answer);
  });
});

describe("effects", () => {
  it.each([
    ["set_light", { room: "living room", state: "on" }, (state) => (state.lights["living room"] = "on")],
    ["set_thermostat", { room: "kitchen", celsius: 25 }, (state) => (state.thermostats.kitchen = 25)],
    [
      "set_lock",
      { door: "front door", state: "unlocked" },
      (state) => (state.locks["front door"] = "unlocked"),
    ],
    [
      "add_reminder",
      { text: "buy milk", time: "07:30" },
      (state) => state.reminders.push({ time: "07:30", text: "buy milk" }),
    ],
    ["get_state", { name: "kitchen" }, () => {}],
    ["set_light", { room: "moon", state: "on" }, () => {}],
    ["fly", {}, () => {}],
  ])("%s %j", (name, args, change) => {
    const expected = structuredClone(home);
    change(expected);
    call(name, args);
    expect(sameHome(home, expected)).toBe(true);
    expect(home).toEqual(expected);
  });
});

describe("refusals", () => {
  it.each([
    ["set_light", { room: "kitchen" }],
    ["set_light", { room: "kitchen", state: "on", brightness: 3 }],
    ["get_state", {}],
    ["get_state", { name: ["kitchen"] }],
    ["set_light", { room: { toString: "kitchen" }, state: "on" }],
  ])("%s %j", (name, args) => {
    const before = structuredClone(home);
    expect(() => call(name, args)).toThrow();
    expect(home).toEqual(before);
  });
});

it("has the tools that the model is told of, with their parameters", () => {
  const tools = JSON.parse(readFileSync(new URL("../../examples/demo/tools.json", import.meta.url), "utf8"));
  expect(tools).toHaveLength(5);
  for (const { function: tool } of tools) {
    const value = (name) => (name === "door" ? "front door" : "kitchen");
    const args = Object.fromEntries(tool.parameters.required.map((name) => [name, value(name)]));
    expect(call(tool.name, args)).not.toMatch(/error/);
    expect(() => call(tool.name, { ...args, surplus: 1 })).toThrow("surplus");
  }
});
