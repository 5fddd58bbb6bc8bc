/** The loss mask of given conversations: slime's, to the letter, and what it refuses. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import type { ChatMessage, Tool } from "../../src/chat/types.js";
import { LockstepError } from "../../src/errors.js";
import { type LossMaskOptions, lossMask } from "../../src/rollout/loss-mask.js";
import { Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { describeIf, hasShared, sharedPath, sharedRows } from "../support/shared.js";
import { QWEN3_ABSENT, qwen3Directory } from "../tokenizer/fixtures.js";

interface Row {
  template: string;
  name: string;
  messages: ChatMessage[];
  tools: Tool[] | null;
  ids: number[];
  mask: string;
}

const directory = qwen3Directory();
const reason = hasShared ? QWEN3_ABSENT : "there is no ../shared next to the checkout";

describeIf(hasShared && directory !== undefined, reason, "slime's loss masks", () => {
  it("gives every golden line's ids and mask", async () => {
    const tokenizer = await Tokenizer.fromDirectory(directory!);
    const rows = sharedRows<Row>("goldens/text/loss_mask.jsonl");
    expect(rows.length).toBeGreaterThan(100);
    for (const { template, name, messages, tools, ids, mask } of rows) {
      const chatTemplate = readFileSync(sharedPath("goldens/text/templates", `${template}.jinja`), "utf8");
      const result = lossMask(tokenizer, messages, { tools, type: "qwen3", chatTemplate });
      expect(result.tokens, name).toEqual(ids);
      expect(result.mask.join(""), name).toBe(mask);
    }
  });
});

const MODEL = fileURLToPath(new URL("../../examples/demo/model", import.meta.url));
let demo: Tokenizer;
beforeAll(async () => {
  demo = await Tokenizer.fromDirectory(MODEL);
});

const user = { role: "user", content: "Hello." };
const assistant = { role: "assistant", content: "Good evening." };

/** The text of the tokens that count. */
function learnt(messages: ChatMessage[], options?: LossMaskOptions): string {
  const { tokens, mask } = lossMask(demo, messages, options);
  expect(mask).toHaveLength(tokens.length);
  return demo.decode(tokens.filter((_, i) => mask[i] === 1));
}

it("counts what the assistant says, to the end of its turn, with the checkpoint's own template", () => {
  expect(learnt([user, assistant])).toMatch(/Good evening\.<\|im_end\|>\n$/);
  expect(learnt([user, assistant])).not.toContain("Hello");
  expect(learnt([user])).toBe("");
});

it("masks out a step with step_loss_mask 0, and no other", () => {
  const quiet = { ...assistant, content: "Not this.", step_loss_mask: 0 };
  const text = learnt([user, quiet, user, { ...assistant, step_loss_mask: 1 }]);
  expect(text).toContain("Good evening.");
  expect(text).not.toContain("Not this.");
  expect(lossMask(demo, [user, quiet]).tokens).toEqual(
    lossMask(demo, [user, { ...quiet, step_loss_mask: 1 }]).tokens,
  );
});

function refusal(run: () => unknown): LockstepError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(LockstepError);
    return error as LockstepError;
  }
  return expect.unreachable("nothing was refused");
}

const anything = (value: unknown) => value as never;

it.each<[string, () => unknown, RegExp]>([
  ["a tokenizer that is none", () => lossMask(anything({}), [user]), /for tokenizer/],
  ["no messages", () => lossMask(demo, []), /non-empty array of messages/],
  [
    "a message without a role",
    () => lossMask(demo, [user, anything({ content: "" })]),
    /messages\[1\]\.role/,
  ],
  ["another rule", () => lossMask(demo, [user], { type: anything("qwen") }), /'qwen3' for type/],
  ["an unknown option", () => lossMask(demo, [user], anything({ tool: [] })), /did you mean tools/],
  ["tools that are none", () => lossMask(demo, [user], { tools: anything("a") }), /for tools/],
  [
    "a step mask that is none",
    () => lossMask(demo, [user, { ...assistant, step_loss_mask: 2 }]),
    /0 or 1 for messages\[1\]\.step_loss_mask/,
  ],
])("refuses %s", (_, run, message) => {
  expect(refusal(run)).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
});

it.each([
  ["{% for m in messages %}{{ loop.index }} of {{ messages | length }}{% endfor %}", 0],
  ["{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}", 0],
  ["{% for m in messages %}{% if loop.last %}last{% endif %}{{ m.role }}{% endfor %}", 1],
])("refuses a template that does not render each message by itself: %s", (chatTemplate, place) => {
  const { code, message } = refusal(() => lossMask(demo, [user, assistant], { chatTemplate }));
  expect(code).toBe("TEMPLATE_ERROR");
  expect(message).toContain(`messages[${place}]`);
});
