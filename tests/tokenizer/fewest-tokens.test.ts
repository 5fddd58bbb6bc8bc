/** A text is refused by its length alone: so no text may have fewer tokens than fewestTokens says, whatever it holds. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { ALPHABET, temporaryDirectory, tinyTokenizer } from "./fixtures.js";

interface Json {
  added_tokens: Record<string, unknown>[];
  normalizer: unknown;
  pre_tokenizer: { pretokenizers: Record<string, unknown>[] };
  model: { vocab: Record<string, number>; merges: string[] };
}

function load(change: (json: Json) => void = () => {}): Promise<Tokenizer> {
  const json = tinyTokenizer();
  change(json as unknown as Json);
  return Tokenizer.fromDirectory(temporaryDirectory({ "tokenizer.json": json }));
}

it("is a lower bound, of texts that shrink in NFC, too", async () => {
  const tokenizer = await load();
  const piece = fc.constantFrom(
    "hello",
    "aaaa",
    " a",
    "<|end|>",
    "<think>",
    "u\u0308\u0304",
    "e\u0301",
    "\u1112\u1161\u11ab",
  );
  const text = fc.array(fc.oneof(piece, fc.string({ unit: "binary" })), { maxLength: 30 });
  fc.assert(
    fc.property(text, (pieces) => {
      const text = pieces.join("");
      expect(tokenizer.encode(text).length).toBeGreaterThanOrEqual(tokenizer.fewestTokens(text));
    }),
    { numRuns: 1_000 },
  );
});

it("grows with the text: its longest token, of 7 bytes, may stand for 10.5 UTF-16 units", async () => {
  const tokenizer = await load();
  expect(tokenizer.fewestTokens("")).toBe(0);
  expect(tokenizer.fewestTokens("a")).toBe(1);
  expect(tokenizer.fewestTokens("a".repeat(10_500))).toBe(1_000);
});

it("holds where the longest token is what NFC shrinks most: six units are four bytes", async () => {
  const bytes = [...Buffer.from("\u01d6")].map((byte) => ALPHABET[byte]!);
  const tokenizer = await load((json) => {
    const [first, second] = bytes as [string, string];
    json.added_tokens = [];
    json.model.vocab = Object.fromEntries(
      [...ALPHABET, first + second, `${first}${second}`.repeat(2)].map((token, id) => [token, id]),
    );
    json.model.merges = [`${first} ${second}`, `${first}${second} ${first}${second}`];
  });
  const text = "u\u0308\u0304".repeat(2);
  expect(tokenizer.encode(text)).toHaveLength(1);
  expect(tokenizer.fewestTokens(text)).toBe(1);
  expect(tokenizer.fewestTokens(`${text}a`)).toBe(2);
});

it("counts on what Unicode has: no character's decomposition has more than 1.5 UTF-16 units per byte", () => {
  let most = 0;
  for (let code = 0; code < 0x110000; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const character = String.fromCodePoint(code);
    const composed = character.normalize("NFC");
    const units = Math.max(character.length, composed.normalize("NFD").length);
    most = Math.max(most, units / Buffer.byteLength(composed));
  }
  expect(most).toBe(1.5);
});

it.each<[string, (json: Json) => void]>([
  ["strips the space before a token", (json) => (json.added_tokens[0]!.lstrip = true)],
  ["strips the space behind a token", (json) => (json.added_tokens[0]!.rstrip = true)],
  ["strips the text", (json) => (json.normalizer = { type: "Strip", strip_left: true, strip_right: true })],
  ["removes what it splits at", (json) => (json.pre_tokenizer.pretokenizers[0]!.behavior = "Removed")],
  ["keeps matches only", (json) => (json.pre_tokenizer.pretokenizers[0]!.invert = true)],
  ["splits into words", (json) => (json.pre_tokenizer.pretokenizers[0] = { type: "Whitespace" })],
  ["does not split into bytes", (json) => json.pre_tokenizer.pretokenizers.pop()],
  ["lacks a byte", (json) => delete json.model.vocab["~"]],
])("promises nothing of a tokenizer that %s", async (_, change) => {
  expect((await load(change)).fewestTokens("a".repeat(1_000_000))).toBe(0);
});
