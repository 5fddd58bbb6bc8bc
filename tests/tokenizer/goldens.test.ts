/**
 * Qwen3's tokenizer against Hugging Face's, to the letter: a wrong id here is a wrong model everywhere, and nothing
 * downstream would notice. The demo's tokenizer is checked against the ids that its golden run was made with.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { beforeAll, expect, it } from "vitest";
import type { ChatMessage, Tool } from "../../src/chat/types.js";
import { Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { describeIf, describeIfShared, hasShared, sharedPath, sharedRows } from "../support/shared.js";
import { QWEN3_ABSENT, qwen3Directory } from "./fixtures.js";

const directory = qwen3Directory();
const reason = hasShared ? QWEN3_ABSENT : "there is no ../shared next to the checkout";

describeIf(hasShared && directory !== undefined, reason, "Qwen3's tokenizer, as Hugging Face's", () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await Tokenizer.fromDirectory(directory!);
  });

  it("encodes and decodes every golden text", () => {
    const rows = sharedRows<{ text: string; ids: number[]; decoded: string }>("goldens/text/tokenizer.jsonl");
    expect(rows.length).toBeGreaterThan(1_000);
    for (const row of rows) {
      expect(tokenizer.encode(row.text), row.text).toEqual(row.ids);
      expect(tokenizer.fewestTokens(row.text)).toBeLessThanOrEqual(row.ids.length);
      expect(tokenizer.decode(row.ids)).toBe(row.decoded);
    }
  });

  it("shows the golden piece after every token", () => {
    const rows = sharedRows<{ ids: number[]; pieces: string[]; text: string }>("goldens/text/decode.jsonl");
    expect(rows.length).toBeGreaterThan(100);
    for (const row of rows) {
      const stream = tokenizer.decodeStream();
      const pieces = row.ids.map((id) => stream.push(id));
      // The golden's last piece holds what is left at the end of the text.
      const rest = stream.flush();
      if (pieces.length > 0) pieces[pieces.length - 1] += rest;
      expect(pieces).toEqual(row.pieces);
      expect(pieces.join("")).toBe(row.text);
    }
  });

  it("renders and encodes every golden conversation", () => {
    const rows = sharedRows<TemplateRow>("goldens/text/template.jsonl");
    expect(rows.length).toBeGreaterThan(400);
    for (const row of rows) {
      const text = tokenizer.applyChatTemplate(row.messages, {
        tools: row.tools,
        chatTemplate: readFileSync(sharedPath("goldens/text/templates", `${row.template}.jinja`), "utf8"),
        addGenerationPrompt: row.options.add_generation_prompt,
        enableThinking: row.options.enable_thinking,
      });
      expect(text, row.name).toBe(row.text);
      const ids = tokenizer.encode(text);
      expect(ids.length, row.name).toBe(row.n);
      expect(createHash("sha256").update(JSON.stringify(ids)).digest("hex"), row.name).toBe(row.ids_sha256);
    }
  });

  it("takes Qwen3's special tokens from its files", () => {
    expect(tokenizer.vocabularySize).toBe(151_669);
    expect(tokenizer.eosTokenId).toBe(151_645); // <|im_end|>
    expect(tokenizer.specialTokenIds.has(151_645)).toBe(true);
    expect(tokenizer.specialTokenIds.has(151_657)).toBe(false); // <tool_call> is text that a reader must see
    const ids = tokenizer.encode("<tool_call>a</tool_call><|im_end|>");
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe("<tool_call>a</tool_call>");
  });

  it("encodes a megabyte in linear time: one letter, random emoji, alternating combining marks (R12)", () => {
    // Deterministic emoji: multiplicative hashing over the block of U+1F300.
    const emoji = (bytes: number) =>
      Array.from({ length: bytes / 4 }, (_, i) =>
        String.fromCodePoint(0x1f300 + ((i * 2_654_435_761) % 768)),
      ).join("");
    const letter = (bytes: number) => "a".repeat(bytes);
    const marks = (bytes: number) => "\u0301\u0323".repeat(bytes / 4);
    const most = 2.5 ** 2; // R12: twice the text takes at most 2.5 times as long, and that twice
    for (const make of [letter, emoji, marks]) {
      const [quarter, whole] = [make(2 ** 18), make(2 ** 20)];
      const shortest = { quarter: Infinity, whole: Infinity };
      const ratio = () => shortest.whole / shortest.quarter;
      // The first round warms up; more than two where the cores are shared.
      for (let round = 0; round < 2 || (ratio() >= most && round < 8); ++round) {
        shortest.quarter = Math.min(
          shortest.quarter,
          time(() => tokenizer.encode(quarter)),
        );
        shortest.whole = Math.min(
          shortest.whole,
          time(() => tokenizer.encode(whole)),
        );
      }
      console.log(
        `R12 1 MB, ${make.name}: ${shortest.whole.toFixed(0)} ms, ${ratio().toFixed(1)} times a quarter`,
      );
      expect(ratio(), make.name).toBeLessThan(most);
    }
  }, 120_000);
});

describeIfShared("the demo's tokenizer", () => {
  it("renders and encodes each first turn as the golden run did", async () => {
    const tokenizer = await Tokenizer.fromDirectory(sharedPath("demo/model"));
    const tools = JSON.parse(readFileSync(sharedPath("demo/tools.json"), "utf8")) as Tool[];
    const system = readFileSync(sharedPath("demo/system.txt"), "utf8").trim();
    const golden = JSON.parse(readFileSync(sharedPath("demo/golden.json"), "utf8")) as DemoGolden;
    const requests = new Map(sharedRows<DemoTask>("demo/tasks.jsonl").map((task) => [task.id, task.request]));
    expect(golden.tasks.length).toBeGreaterThan(50);
    for (const task of golden.tasks) {
      const messages = [
        { role: "system", content: system },
        { role: "user", content: requests.get(task.id) },
      ];
      const text = tokenizer.applyChatTemplate(messages, { tools, addGenerationPrompt: true });
      expect(tokenizer.encode(text)).toEqual(task.turns[0]!.prompt_tokens);
    }
  });
});

interface TemplateRow {
  template: string;
  name: string;
  messages: ChatMessage[];
  tools: Tool[] | null;
  options: { add_generation_prompt: boolean; enable_thinking?: boolean };
  text: string;
  n: number;
  ids_sha256: string;
}
interface DemoGolden {
  tasks: { id: string; turns: { prompt_tokens: number[] }[] }[];
}
interface DemoTask {
  id: string;
  request: string;
}

function time(run: () => unknown): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}
