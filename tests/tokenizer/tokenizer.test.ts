/**
 * The tokenizer on a tiny byte-level vocabulary: what a caller may pass, what a broken checkpoint may hold. The goldens
 * need files that are not everywhere; these run everywhere.
 */
import { describe, expect, it } from "vitest";
import { LockstepError } from "../../src/errors.js";
import { Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { temporaryDirectory, tinyTokenizer } from "./fixtures.js";

const config = {
  eos_token: "<|end|>",
  chat_template: "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
};

function tiny(files: Record<string, unknown> = {}): Promise<Tokenizer> {
  return Tokenizer.fromDirectory(
    temporaryDirectory({ "tokenizer.json": tinyTokenizer(), "tokenizer_config.json": config, ...files }),
  );
}

describe("encode", () => {
  it("merges by rank, splits by the pre-tokenizer and recognises special tokens in the text", async () => {
    const tokenizer = await tiny();
    expect(tokenizer.encode("")).toEqual([]);
    expect(tokenizer.encode("hello")).toEqual([259]);
    expect(tokenizer.encode("aaaaaaa")).toEqual([261, 260, 97]);
    expect(tokenizer.encode("hello<|end|> a<think>")).toEqual([259, 300, 262, 301]);
  });

  it("normalises: e and a combining acute are the token é", async () => {
    const tokenizer = await tiny();
    expect(tokenizer.encode("e\u0301")).toEqual([263]);
    expect(tokenizer.encode("\u00e9")).toEqual([263]);
  });

  it("refuses what is not text, and says where a lone surrogate is", async () => {
    const tokenizer = await tiny();
    for (const value of [undefined, null, 1, ["a"], {}, new String("a")])
      expect(() => tokenizer.encode(value as string)).toThrow(/Expected a string for the text to encode/);
    expect(() => tokenizer.encode("ab\ud800c")).toThrow(/lone surrogate \(U\+D800\) at index 2/);
    expect(() => tokenizer.encode("\u{1f600}\udc00")).toThrow(/U\+DC00\) at index 2/);
    expect(tokenizer.encode("\u{1f600}")).toHaveLength(4);
  });
});

describe("decode", () => {
  it("keeps special tokens unless told otherwise, and only those that are special", async () => {
    const tokenizer = await tiny();
    expect(tokenizer.decode([259, 301, 300])).toBe("hello<think><|end|>");
    expect(tokenizer.decode([259, 301, 300], { skipSpecialTokens: true })).toBe("hello<think>");
    expect(tokenizer.decode(Int32Array.of(259))).toBe("hello");
    expect(tokenizer.decode([])).toBe("");
  });

  it("gives nothing for a padding row, U+FFFD for broken bytes, and keeps a byte order mark", async () => {
    const tokenizer = await tiny();
    expect(tokenizer.decode([104, 280, 50_000, 2 ** 31 - 1, 105])).toBe("hi");
    expect(tokenizer.decode([0xc3, 0x68, 0xff])).toBe("\ufffdh\ufffd");
    expect(tokenizer.decode([0xc3, 280, 0xa9])).toBe("\u00e9"); // a padding row does not break a character
    expect(tokenizer.decode([0xef, 0xbb, 0xbf, 0x61])).toBe("\ufeffa");
  });

  it("refuses what cannot be an id, naming it and its index", async () => {
    const tokenizer = await tiny();
    for (const id of [-1, 1.5, Number.NaN, 2 ** 31, "1", null, 1n])
      expect(() => tokenizer.decode([0, id as number])).toThrow(
        /integer in \[0, 2\^31\) for the token id at index 1/,
      );
    for (const ids of [null, undefined, 5, "ab", {}])
      expect(() => tokenizer.decode(ids as number[])).toThrow(/an array of token ids/);
    expect(() => tokenizer.decodeStream().push(-1)).toThrow(/the token id but received -1/);
  });
});

describe("the properties", () => {
  it("come from the files", async () => {
    const tokenizer = await tiny();
    expect(tokenizer.vocabularySize).toBe(302);
    expect(tokenizer.eosTokenId).toBe(300);
    expect([...tokenizer.specialTokenIds]).toEqual([300]);
    expect(tokenizer.hasChatTemplate).toBe(true);
    const bare = await Tokenizer.fromDirectory(temporaryDirectory({ "tokenizer.json": tinyTokenizer() }));
    expect(bare.eosTokenId).toBeUndefined();
    expect(bare.hasChatTemplate).toBe(false);
    expect(bare.fingerprint).toBe(tokenizer.fingerprint);
    expect(() => bare.applyChatTemplate([{ role: "user", content: "a" }])).toThrow(/has no chat template/);
  });

  it("reads tokens written as objects, and counts the config's named tokens as special", async () => {
    const tokenizer = await tiny({
      "tokenizer_config.json": { eos_token: { content: "<|end|>" }, additional_special_tokens: ["<think>"] },
    });
    expect(tokenizer.eosTokenId).toBe(300);
    expect([...tokenizer.specialTokenIds].sort()).toEqual([300, 301]);
  });
});

describe("the special tokens around a text", () => {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
  const text = { Sequence: { id: "A", type_id: 0 } };
  const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  const template = (
    single: unknown,
    special_tokens: unknown = { "<|end|>": { ids: [300] }, b: { ids: [7, 8] } },
  ) => ({
    ...{ type: "TemplateProcessing", single, pair: [], special_tokens },
  });
  const around = async (post_processor: unknown, config: object = {}) => {
    const files = {
      "tokenizer.json": { ...tinyTokenizer(), post_processor },
      "tokenizer_config.json": config,
    };
    return (await tiny(files)).specialTokensAround;
  };

  it("are the post-processor's, and encode adds none", async () => {
    const end = template([text, special("<|end|>")]);
    expect(await around(null)).toEqual({ before: [], after: [] });
    expect(await around(byteLevel)).toEqual({ before: [], after: [] });
    expect(await around(template([special("b"), text, special("<|end|>"), special("b")]))).toEqual({
      before: [7, 8],
      after: [300, 7, 8],
    });
    // As Qwen3-Embedding has it; of two templates the second goes around the first.
    expect(await around({ type: "Sequence", processors: [byteLevel, end] })).toEqual({
      before: [],
      after: [300],
    });
    const both = [
      template([special("<|end|>"), text, special("<|end|>")]),
      template([special("b"), text, special("b")]),
    ];
    expect(await around({ type: "Sequence", processors: both })).toEqual({
      before: [7, 8, 300],
      after: [300, 7, 8],
    });
    const tokenizer = await tiny({ "tokenizer.json": { ...tinyTokenizer(), post_processor: end } });
    expect(tokenizer.encode("hello")).toEqual([259]);
  });

  it("are the ones tokenizer_config.json names where the post-processor has none", async () => {
    const named = { eos_token: "<|end|>", add_eos_token: true, bos_token: "<think>", add_bos_token: true };
    expect(await around(null, named)).toEqual({ before: [301], after: [300] });
    expect(await around(byteLevel, { ...named, add_bos_token: false })).toEqual({ before: [], after: [300] });
    expect(await around(template([text, special("b")]), named)).toEqual({ before: [], after: [7, 8] });
  });

  it.each<[string, unknown, RegExp]>([
    [
      "of an unknown kind",
      { type: "BertProcessing" },
      /post_processor\.type is 'BertProcessing' \(string\); only /,
    ],
    [
      "of a kind in a sequence",
      { type: "Sequence", processors: [{}] },
      /post_processor\.type is undefined; only /,
    ],
    [
      "without a text",
      template([special("b")]),
      /post_processor\.single is .*, not a text among special tokens/,
    ],
    ["without a template", template(undefined), /post_processor\.single is undefined/],
    ["of two texts", template([text, text]), /post_processor\.single/],
    ["of a token that is nowhere", template([text, special("c")]), /post_processor\.single/],
    [
      "of a token without ids",
      template([text, special("b")], { b: { ids: ["7"] } }),
      /post_processor\.single/,
    ],
    ["of no objects", "TemplateProcessing", /post_processor\.type is undefined/],
  ])("%s are refused", async (_, post_processor, message) => {
    await expect(around(post_processor)).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(message),
    });
  });
});

describe("the chat template's source", () => {
  const messages = [{ role: "user", content: "hi" }];

  it("is chat_template.jinja, else the config's, of a list the one named default", async () => {
    expect((await tiny()).applyChatTemplate(messages)).toBe("hi<|end|>");
    expect((await tiny({ "chat_template.jinja": "file" })).applyChatTemplate(messages)).toBe("file");
    const list = [
      { name: "tool_use", template: "no" },
      { name: "default", template: "yes" },
    ];
    const listed = await tiny({ "tokenizer_config.json": { chat_template: list } });
    expect(listed.applyChatTemplate(messages)).toBe("yes");
    expect(listed.applyChatTemplate(messages, { chatTemplate: "mine" })).toBe("mine");
  });
});

describe("a malformed checkpoint", () => {
  it("without tokenizer.json has NO_TOKENIZER", async () => {
    await expect(Tokenizer.fromDirectory(temporaryDirectory({}))).rejects.toMatchObject({
      code: "NO_TOKENIZER",
    });
    await expect(Tokenizer.fromDirectory("/nonexistent")).rejects.toMatchObject({ code: "NO_TOKENIZER" });
    await expect(Tokenizer.fromDirectory(5 as unknown as string)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  /** Each row breaks the tiny tokenizer in one way; the message must name the file and the culprit. */
  const broken: [string, (json: Json) => unknown, RegExp][] = [
    ["cut JSON", () => '{"model": {', /not valid JSON/],
    ["an empty file", () => "", /not valid JSON/],
    ["bytes that are no UTF-8", () => Uint8Array.of(0x7b, 0xff, 0x7d), /not valid UTF-8/],
    ["an array", () => [], /an array of length 0, not an object/],
    ["null", () => "null", /holds null/],
    ["10,000 levels", () => "[".repeat(10_000), /not valid JSON/],
    ["no model", (j) => ({ ...j, model: undefined }), /model is undefined/],
    ["another model", (j) => ({ ...j, model: { ...j.model, type: "Unigram" } }), /model\.type is 'Unigram'/],
    ["another decoder", (j) => ({ ...j, decoder: { type: "Metaspace" } }), /decoder\.type is 'Metaspace'/],
    ["no decoder", (j) => ({ ...j, decoder: null }), /decoder\.type is null/],
    ["dropout", (j) => ({ ...j, model: { ...j.model, dropout: 0.1 } }), /model\.dropout is 0\.1/],
    ["no vocabulary", (j) => ({ ...j, model: { ...j.model, vocab: {}, merges: [] } }), /vocab is empty/],
    ["a list of tokens", (j) => ({ ...j, model: { ...j.model, vocab: ["a"] } }), /vocab is an array/],
    ["a negative id", (j) => vocab(j, { x: -1 }), /gives 'x' \(string\) the id -1/],
    ["a fractional id", (j) => vocab(j, { x: 1.5 }), /the id 1\.5/],
    ["a huge id", (j) => vocab(j, { x: 1e9 }), /the id 1000000000/],
    ["an id twice", (j) => vocab(j, { xyz: 104 }), /the id 104 twice/],
    ["no merges", (j) => ({ ...j, model: { ...j.model, merges: undefined } }), /merges is undefined/],
    ["a merge of three", (j) => merge(j, "a b c"), /merges\[8\] is 'a b c'/],
    ["a merge of one", (j) => merge(j, "a"), /merges\[8\]/],
    ["a merge of numbers", (j) => merge(j, [1, 2]), /merges\[8\] is an array/],
    ["a merge without its token", (j) => merge(j, "q z"), /merges\[8\] needs the token 'qz'/],
    ["added tokens as an object", (j) => ({ ...j, added_tokens: {} }), /added_tokens is an object/],
    [
      "an added token without content",
      (j) => ({ ...j, added_tokens: [{ id: 300 }] }),
      /content is undefined/,
    ],
    [
      "an added token without id",
      (j) => ({ ...j, added_tokens: [{ content: "x" }] }),
      /\[0\]\.id is undefined/,
    ],
    [
      "a wrong flag",
      (j) => ({ ...j, added_tokens: [{ id: 300, content: "x", special: 1 }] }),
      /special is 1/,
    ],
    ["a taken id", (j) => ({ ...j, added_tokens: [{ id: 104, content: "x" }] }), /the id 104, which is 'h'/],
    ["an unknown pre-tokenizer", (j) => ({ ...j, pre_tokenizer: { type: "Nope" } }), /Nope/],
    ["a bad expression", (j) => ({ ...j, pre_tokenizer: split("(") }), /tokenizer\.json/],
  ];
  it.each(broken)("with %s in tokenizer.json is INVALID_CHECKPOINT", async (_, breakIt, message) => {
    const directory = temporaryDirectory({ "tokenizer.json": breakIt(tinyTokenizer() as Json) });
    const error = await Tokenizer.fromDirectory(directory).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(LockstepError);
    expect(error).toMatchObject({ code: "INVALID_CHECKPOINT", message: expect.stringMatching(message) });
    expect((error as Error).message).toContain("tokenizer.json");
  });

  it.each([
    ["tokenizer_config.json", "[1]", /not an object/],
    ["tokenizer_config.json", { eos_token: 5 }, /eos_token is 5/],
    [
      "tokenizer_config.json",
      { additional_special_tokens: [null] },
      /additional_special_tokens\[0\] is null/,
    ],
    ["tokenizer_config.json", { chat_template: [{ name: "default" }] }, /chat_template is an array/],
    ["chat_template.jinja", Uint8Array.of(0xff), /not valid UTF-8/],
  ])("with a broken %s (%j) is INVALID_CHECKPOINT", async (file, content, message) => {
    const error = await tiny({ [file]: content }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "INVALID_CHECKPOINT", message: expect.stringMatching(message) });
    expect((error as Error).message).toContain(file);
  });
});

type Json = Record<string, unknown> & {
  model: Record<string, unknown> & { vocab: object; merges: unknown[] };
};
const vocab = (j: Json, more: object) => ({
  ...j,
  model: { ...j.model, vocab: { ...j.model.vocab, ...more } },
});
const merge = (j: Json, more: unknown) => ({
  ...j,
  model: { ...j.model, merges: [...j.model.merges, more] },
});
const split = (regex: string) => ({
  type: "Split",
  pattern: { Regex: regex },
  behavior: "Isolated",
  invert: false,
});
