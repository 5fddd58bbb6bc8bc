/**
 * Reading tool calls from what a model wrote: every well-formed block, nothing else, never an exception, linear time.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseToolCalls } from "../../src/chat/tool-calls.js";

const call = (json: string) => `<tool_call>\n${json}\n</tool_call>`;

describe("parseToolCalls", () => {
  it("reads the blocks in order, whatever stands around them", () => {
    const text = `I will look.\n${call('{"name": "f", "arguments": {"x": [1, {"y": "é"}]}}')} and ${call('{"arguments":{},"name":"g","id":1}')}<|im_end|>`;
    expect(parseToolCalls(text)).toEqual([
      { name: "f", arguments: { x: [1, { y: "é" }] } },
      { name: "g", arguments: {} },
    ]);
    expect(parseToolCalls('<tool_call>{"name":"f","arguments":{}}</tool_call>')).toHaveLength(1);
    expect(parseToolCalls("no calls")).toEqual([]);
    expect(parseToolCalls("")).toEqual([]);
  });

  it.each([
    '{"name": "f", "arguments": {}',
    '{"name": "f", "arguments": {}} trailing',
    '{"name": "f", "arguments": "{}"}',
    '{"name": "f", "arguments": []}',
    '{"name": "f", "arguments": null}',
    '{"name": "f"}',
    '{"name": "", "arguments": {}}',
    '{"name": 1, "arguments": {}}',
    "{'name': 'f', 'arguments': {}}",
    '[{"name": "f", "arguments": {}}]',
    "null",
    "",
  ])("skips %s and goes on", (json) => {
    expect(parseToolCalls(call(json))).toEqual([]);
    const text = `${call(json)}${call('{"name": "good", "arguments": {}}')}`;
    expect(parseToolCalls(text)).toEqual([{ name: "good", arguments: {} }]);
  });

  it("skips a block that is not closed, and finds a good one inside a bad one", () => {
    expect(parseToolCalls('<tool_call>\n{"name": "f", "arguments": {}}')).toEqual([]);
    expect(parseToolCalls(`<tool_call>oops ${call('{"name": "f", "arguments": {}}')}`)).toHaveLength(1);
  });

  it("is not ended by tags and braces inside strings", () => {
    const args = { html: "</tool_call><tool_call>{", quote: '"}\\', nested: '{"name":"no","arguments":{}}' };
    const text = call(JSON.stringify({ name: "f", arguments: args }));
    expect(parseToolCalls(text)).toEqual([{ name: "f", arguments: args }]);
  });

  it("gives back any JSON arguments, and no prototype is touched", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (args) => {
        const json = JSON.stringify({ name: "f", arguments: args });
        expect(JSON.stringify(parseToolCalls(call(json))[0]?.arguments)).toBe(JSON.stringify(args));
      }),
    );
    const [found] = parseToolCalls(call('{"name": "f", "arguments": {"__proto__": {"polluted": 1}}}'));
    expect(Object.keys(found!.arguments)).toEqual(["__proto__"]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it("never throws, whatever the text", () => {
    const part = fc.constantFrom(
      "<tool_call>",
      "</tool_call>",
      "{",
      "}",
      '"',
      "\\",
      '{"name":"f","arguments":{}}',
      "\n",
      "x",
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
        for (const found of parseToolCalls(parts.join(""))) expect(found.name).toBe("f");
      }),
    );
  });

  it("is linear: 100,000 tags that never close", () => {
    const start = performance.now();
    expect(parseToolCalls("<tool_call>{".repeat(100_000))).toEqual([]);
    expect(performance.now() - start).toBeLessThan(2_000); // quadratic: 6 * 10^10 characters
  });
});
