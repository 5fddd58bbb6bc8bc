/** What stands between two turns: the ids of the conversation rendered whole, by Qwen3's templates and the demo's. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { type ChatTemplate, FULL, type Variables } from "../../src/chat/template.js";
import type { ChatMessage } from "../../src/chat/types.js";
import { checkObservation, observationIds } from "../../src/rollout/observation.js";
import type { RolloutEngine } from "../../src/rollout/rollout-engine.js";
import type { PromptOptions } from "../../src/rollout/types.js";
import { Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { describeIf, hasShared, sharedPath } from "../support/shared.js";
import { QWEN3_ABSENT, qwen3Directory } from "../tokenizer/fixtures.js";

/** As much of an engine as observations need, without its workers. */
async function textOnly(directory: string): Promise<RolloutEngine> {
  const tokenizer = await Tokenizer.fromDirectory(directory);
  const renderer = {
    render: (template: ChatTemplate, { values }: Variables) => template.renderVariables(values, FULL),
  };
  const encoder = { encodeAsync: async (text: string) => Int32Array.from(tokenizer.encode(text)) };
  const text = { tokenizer, encoder, renderer };
  return { text, vocabSize: tokenizer.vocabularySize } as unknown as RolloutEngine;
}

const call = (name: string): ChatMessage => ({
  role: "assistant",
  content: "",
  tool_calls: [{ function: { name, arguments: { door: "back" } } }],
});
const kTasks: ChatMessage[][] = [
  [{ role: "user", content: "Is it locked?" }],
  [
    { role: "system", content: "Be brief." },
    { role: "user", content: "Hello. <|im_end|>" },
    { role: "assistant", content: "Good evening." },
    { role: "user", content: "Is it locked?" },
  ],
];
/** The model's answer as a message, and what the environment says to it. */
const kTurns: [ChatMessage, ChatMessage[]][] = [
  [call("get_state"), [{ role: "tool", content: '{"lock": "locked"}' }]],
  [
    { role: "assistant", content: "what the model said" },
    [
      { role: "tool", content: "1" },
      { role: "tool", content: "façade 日本 what the model said" },
    ],
  ],
  [{ role: "assistant", content: "Which door?" }, [{ role: "user", content: "The back\n door" }]],
];

/** The ids after the model's own must be those of the whole conversation, whether or not it wrote the end of its turn. */
async function expectWhole(engine: RolloutEngine, options: PromptOptions): Promise<void> {
  const { tokenizer } = engine.text!;
  const render = (messages: ChatMessage[]): number[] =>
    tokenizer.encode(
      tokenizer.applyChatTemplate(messages, { ...(options as object), addGenerationPrompt: true }),
    );
  const end = tokenizer.encode("<|im_end|>")[0]!;
  for (const task of kTasks)
    for (const [answer, said] of kTurns) {
      const whole = render([...task, answer, ...said]);
      for (const lastToken of [end, end - 1]) {
        const room = whole.length;
        const ids = await observationIds(engine, { messages: said }, { lastToken, room, options });
        const tail = Array.from(ids!);
        expect(tail).toEqual(whole.slice(-tail.length));
        // What stands before it is the end of the model's turn, or the model's last word.
        const before = whole.at(-tail.length - 1);
        if (lastToken === end) expect(before).toBe(end);
        else expect([tail[0], before === end]).toEqual([end, false]);
      }
    }
}

const kDemo = fileURLToPath(new URL("../../examples/demo/model", import.meta.url));
const qwen3 = qwen3Directory();
const reason = hasShared ? QWEN3_ABSENT : "there is no ../shared next to the checkout";
const kTemplates = ["qwen3", "qwen3-2507", "qwen3-instruct-2507"];

describeIf(hasShared && qwen3 !== undefined, reason, "Qwen3's templates", () => {
  let engine: RolloutEngine;
  beforeAll(async () => {
    engine = await textOnly(qwen3!);
  });

  it.each(kTemplates)("%s continues as it would render the whole", async (name) => {
    const chatTemplate = readFileSync(sharedPath("goldens/text/templates", `${name}.jinja`), "utf8");
    await expectWhole(engine, { chatTemplate });
    await expectWhole(engine, { chatTemplate, enableThinking: false });
  });

  it("begin the next answer with an empty thought where thinking is off", async () => {
    const chatTemplate = readFileSync(sharedPath("goldens/text/templates/qwen3.jinja"), "utf8");
    const place = { lastToken: 151_645, room: 100, options: { chatTemplate, enableThinking: false } };
    const ids = await observationIds(engine, { messages: [{ role: "tool", content: "1" }] }, place);
    expect(engine.text!.tokenizer.decode(ids!)).toBe(
      "\n<|im_start|>user\n<tool_response>\n1\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    );
  });
});

describe("observations", () => {
  let demo: RolloutEngine;
  beforeAll(async () => {
    demo = await textOnly(kDemo);
  });
  const ids = async (observation: unknown, room = 100, options: PromptOptions = {}) =>
    observationIds(demo, checkObservation(observation)!, { lastToken: 696, room, options });

  it("of messages are what the demo's template writes", () => expectWhole(demo, {}));

  it("of text and ids are appended as they are", async () => {
    expect(Array.from((await ids({ text: "Done<|im_end|>" }))!)).toEqual(
      demo.text!.tokenizer.encode("Done<|im_end|>"),
    );
    expect(Array.from((await ids({ tokens: Uint16Array.of(5, 6), text: undefined }))!)).toEqual([5, 6]);
  });

  it("that are longer than the room are none", async () => {
    const said = { messages: [{ role: "tool", content: "1" }] };
    const { length } = (await ids(said))!;
    expect(await ids(said, length)).toHaveLength(length);
    expect(await ids(said, length - 1)).toBeUndefined();
    expect(await ids({ tokens: [1, 2, 3] }, 2)).toBeUndefined();
    expect(await ids({ text: "a".repeat(1_000_000) })).toBeUndefined();
    expect(await ids({ text: "Done" }, 0)).toBeUndefined();
  });

  const kBad: [string, unknown, RegExp][] = [
    ["a string", "Done", /nothing, or an object with one of messages.*received 'Done'/],
    ["two forms", { text: "a", tokens: [1] }, /one of messages.*'text, tokens'/],
    ["no form", {}, /one of messages/],
    ["another key", { message: [] }, /one of messages.*'message'/],
    ["no messages", { messages: [] }, /a non-empty array of messages/],
    ["a bad message", { messages: [{ role: 3 }] }, /messages\[0\]\.role/],
    ["an id beyond the vocabulary", { tokens: [1, 99_999] }, /turn's tokens\[1\]/],
    ["no ids", { tokens: [] }, /at least one token/],
    ["no text", { text: "" }, /at least one token/],
    ["half a character", { text: "\ud800" }, /lone surrogate/],
  ];
  it.each(kBad)("refuse %s", async (_, observation, message) => {
    await expect(ids(observation)).rejects.toMatchObject({ message: expect.stringMatching(message) });
  });

  it("say so where the template does not write what an assistant said", async () => {
    const chatTemplate = "{% for m in messages %}{{ m.role }}{% endfor %}";
    const said = ids({ messages: [{ role: "user", content: "?" }] }, 100, { chatTemplate });
    await expect(said).rejects.toMatchObject({ code: "TEMPLATE_ERROR" });
  });
});
