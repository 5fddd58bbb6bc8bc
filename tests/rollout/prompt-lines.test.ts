/** The requests of `lockstep rollout`: lines, and what of them is still to be made. */
import { expect, it } from "vitest";
import { missingRequests, parsePromptLines } from "../../src/rollout/prompt-lines.js";

const parse = (text: string) => parsePromptLines(text, { path: "p.jsonl", n: 4 });

it("reads a request a line, and no more from blank ones", () => {
  const lines = parse(
    '{"prompt": "a", "metadata": [1]}\r\n\n{"messages": [], "tools": [], "n": 2}\n{"tokens": [1]}',
  );
  expect(lines).toEqual([
    { lineNumber: 1, n: 4, prompt: "a", metadata: [1] },
    { lineNumber: 3, n: 2, prompt: { messages: [], tools: [] } },
    { lineNumber: 4, n: 4, prompt: { tokens: [1] } },
  ]);
});

it.each([
  ["", /^Expected a request in p\.jsonl/],
  ['{"prompt": "a"}\n{"prompt": ', /^p\.jsonl:2: .*JSON/],
  ["[1]", /^p\.jsonl:1: Expected an object/],
  ["null", /^p\.jsonl:1: Expected an object/],
  ['{"promt": "a"}', /^p\.jsonl:1: .*did you mean prompt\?/],
  ['{"prompt": "a", "n": 0}', /^p\.jsonl:1: Expected an integer in \[1, 65536\] for n/],
  ['{"prompt": "a", "messages": []}', /no messages beside prompt/],
  ['{"prompt": "a", "sampling": 1}', /an object for sampling/],
  ['{"prompt": "a", "sampling": {"sampleIndex": 1}}', /no sampleIndex/],
])("refuses %j", (text, message) => {
  expect(() => parse(text)).toThrow(message);
  expect(() => parse(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});

it("asks for what is missing only, in runs of samples, with the seed of the group", () => {
  const lines = parse(
    '{"prompt": "a"}\n{"prompt": "b", "n": 2}\n{"prompt": "c", "sampling": {"seed": 1, "topK": 2}}',
  );
  const there = new Set(["0:1", "1:0", "1:1", "2:3"]);
  const { requests, groups, samples } = missingRequests(lines, 2 ** 53 - 1, (group, k) =>
    there.has(`${group}:${k}`),
  );
  expect(requests).toEqual([
    { prompt: "a", n: 1, sampling: { seed: 2 ** 53 - 1, sampleIndex: 0 } },
    { prompt: "a", n: 2, sampling: { seed: 2 ** 53 - 1, sampleIndex: 2 } },
    { prompt: "c", n: 3, sampling: { seed: 1, topK: 2, sampleIndex: 0 } },
  ]);
  expect({ groups, samples }).toEqual({ groups: [0, 0, 2], samples: 6 });
  const [, b] = missingRequests(lines, 2 ** 53 - 1, () => false).requests;
  expect(b).toMatchObject({ sampling: { seed: 0 } }); // modulo 2^53
});
