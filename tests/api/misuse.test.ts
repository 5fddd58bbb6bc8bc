/**
 * The likely misuses of the API. Each is refused with a code and a message that says what was expected, what came and
 * where; and the engine serves the next caller as if nothing had happened.
 */
import { runInNewContext } from "node:vm";
import {
  type EmbedOptions,
  Engine,
  type ErrorCode,
  LockstepError,
  measureFloors,
  type Prompt,
  type SamplingOptions,
  type ScoreOptions,
  samplingDistribution,
  Tokenizer,
} from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kDemoModel, kEndless, kTokens } from "./support.js";

/** [what is passed, what the message must say, the code if it is not INVALID_ARGUMENT] */
type Row = [given: unknown, message: RegExp | string, code?: ErrorCode];

const nan = Number.NaN;
const infinity = Number.POSITIVE_INFINITY;
/** An own property that a literal cannot have. */
const ownProto = JSON.parse('{ "__proto__": { "temperature": 0 } }');

async function refusal(call: () => unknown): Promise<LockstepError> {
  try {
    await call();
  } catch (error) {
    expect(error).toBeInstanceOf(LockstepError);
    return error as LockstepError;
  }
  throw new Error("it was accepted");
}

async function expectRefusal(
  call: () => unknown,
  [given, message, code = "INVALID_ARGUMENT"]: Row,
): Promise<void> {
  const error = await refusal(call);
  const about = `${String(JSON.stringify(given, (_, value) => (typeof value === "bigint" ? `${value}n` : value))).slice(0, 80)}`;
  expect(error.code, `${about}: ${error.message}`).toBe(code);
  if (typeof message === "string") expect(error.message).toBe(message);
  else expect(error.message).toMatch(message);
}

/** Rows for one option: each value is refused for `expected`, under the option's name. */
const option = (name: string, expected: string, ...values: unknown[]): Row[] =>
  values.map((value) => [
    { [name]: value },
    new RegExp(`^Expected ${escaped(expected)} for ${name}\\b.* but received `),
  ]);
const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

const samplingRows: Row[] = [
  [
    { temperature: "1" },
    "Expected a number in [0, 2] for temperature (0 = greedy) but received '1' (string)",
  ],
  [{ temperature: 2.5 }, "Expected a number in [0, 2] for temperature (0 = greedy) but received 2.5"],
  ...option(
    "temperature",
    "a number in [0, 2]",
    -0.1,
    nan,
    infinity,
    null,
    true,
    [],
    {},
    1n,
    () => 1,
    Symbol("x"),
  ),
  ...option("topK", "an integer in [0, 2147483647]", -1, 1.5, 2 ** 31, "20", nan, infinity, null),
  ...option("topP", "a number in (0, 1]", 0, -1, 1.01, nan, "0.9", null),
  ...option("seed", "an integer in [0, 2^53)", -1, 0.5, 2 ** 53, nan, infinity, "7", 7n, null),
  ...option("sampleIndex", "an integer in [0, 4294967295]", -1, 2 ** 32, 0.5, "0"),
  ...option("maxTokens", "an integer in [1, 2147483647]", 0, -1, 1.5, 2 ** 53, nan, infinity, "10", null),
  ...option("stop", "a non-empty string without lone surrogates", "", [""], ["ok", 5], ["\ud800"], [null]),
  ...option("stop", "an array of strings", 5, null, {}, true),
  ...option(
    "stopTokenIds",
    "a token id in [0, 704)",
    [704],
    [-1],
    [1.5],
    ["5"],
    [nan],
    Array(2),
    [2 ** 32],
    [1n],
  ),
  ...option(
    "stopTokenIds",
    "an array or a typed array of token ids",
    5,
    "5",
    null,
    {},
    new DataView(new ArrayBuffer(4)),
  ),
  ...option("includeStop", "a boolean", 1, "true", null),
  ...option("ignoreEos", "a boolean", 0, "false", null),
  ...option("logprobs", "a boolean", 1, "yes", 5),
  ...option("topLogprobs", "an integer in [0, 1024]", -1, 1025, 1.5, true, "3", nan),
  ...option("signal", "an AbortSignal", {}, new AbortController(), "abort", null),
  [
    { temprature: 1 },
    /^Expected a known option in sampling options but received 'temprature': did you mean temperature\? Known: /,
  ],
  [{ max_tokens: 5 }, /'max_tokens': did you mean maxTokens\?/],
  [{ top_p: 0.5 }, /'top_p': did you mean topP\?/],
  [{ stopTokens: [1] }, /'stopTokens': did you mean stopTokenIds\?/],
  [{ ["k".repeat(200)]: 1 }, /received 'k{42}\.{3}k{15}'\. Known: /],
  [{ somethingElse: 1 }, /received 'somethingElse'\. Known: maxTokens, /],
  [{ constructor: 1 }, /received 'constructor'/],
  [{ toString: 1 }, /received 'toString'/],
  [ownProto, /received '__proto__'/],
  ...option("minTokens", "an integer in [0, 2147483647]", -1, 1.5, "3", nan, null),
  [{ minTokens: 5, maxTokens: 4 }, /^Expected at most maxTokens \(4\) for minTokens but received 5$/],
  ...option("minP", "a number in [0, 1]", -0.1, 1.1, nan, "0.1", null),
  ...option("repetitionPenalty", "a number in (0, 100]", 0, -1, 101, nan, infinity, "1"),
  ...option("presencePenalty", "a number in [-100, 100]", -101, nan, infinity, "0"),
  ...option("frequencyPenalty", "a number in [-100, 100]", 101, nan, null),
  ...option("n", "an integer in [1, 65536]", 0, -1, 1.5, 65537, "2", null),
  [{ n: 2, sampleIndex: 2 ** 32 - 1 }, /sampleIndex \+ n - 1 for n but received 2$/],
  ...option("logitBias", "an object or a Map of token ids to numbers", 5, null, [], "5"),
  ...option("logitBias", "a token id in [0, 704)", { 704: 1 }, { "-1": 1 }, { x: 1 }, new Map([["5", 1]])),
  ...option(
    "logitBias",
    "a number in [-1000000, 1000000] or -Infinity",
    { 5: nan },
    { 5: "1" },
    { 5: infinity },
  ),
  ...option("promptLogprobs", "a boolean", 1, "true", null),
  ...option("keptTokenIds", "a boolean", 1, "true", null),
  ...[{}, { topK: 704 }, { topP: 1 - 1e-9, minP: 1e-50 }].map((filters): [object, RegExp] => [
    { temperature: 1, keptTokenIds: true, ...filters },
    /^Expected topK, topP, minP or temperature 0 with keptTokenIds but received none of them: every token .* \(704\)/,
  ]),
  ...option("forcedTokens", "a token id in [0, 704)", [704], [-1], ["5"]),
  ...option("forcedTokens", "an array or a typed array of token ids", 5, "5", {}),
  ...option("forcedTokens", "at most 2048 token ids", { length: 2049 }, new Int32Array(2049)), // the context
  ...option("stopTokenIds", "at most 704 token ids", { length: 705 }, new Int32Array(705)), // the vocabulary
  ...option("cacheSalt", "a string without lone surrogates", 5, null, {}, "\ud800"),
  [null, /^Expected an object for sampling options but received null$/],
  [[], /^Expected an object for sampling options but received an array of length 0$/],
  ["greedy", /^Expected an object for sampling options but received 'greedy' \(string\)$/],
  [64, /received 64$/],
  [() => 1, /received a function$/],
];

const promptRows: Row[] = [
  [
    undefined,
    /^Expected a string or an object with text, tokens or messages for prompt but received undefined$/,
  ],
  [null, /for prompt but received null/],
  [42, /for prompt but received 42/],
  [{}, /exactly one of text, tokens and messages for prompt/],
  [{ prompt: "hello" }, /a known option in prompt but received 'prompt'. Known: text, tokens, messages/],
  [{ message: [] }, /'message'.*messages/],
  [
    { text: "a", tokens: [1] },
    /exactly one of text, tokens and messages for prompt but received 'text, tokens'/,
  ],
  [{ tokens: [1], messages: [] }, /exactly one of text, tokens and messages/],
  [Int32Array.of(1, 2), /for prompt but received an object \(Int32Array\)/],
  ["", /non-empty text/],
  [{ text: "" }, /non-empty text/],
  [{ text: 5 }, /a string for text but received 5/],
  [{ text: ["a"] }, /a string for text/],
  ["lone \ud800 surrogate", /surrogate/],
  [{ text: "\udc00" }, /surrogate/],
  [`${"long ".repeat(2000)}\ud800`, /surrogate/],
  [{ tokens: [] }, /at least one token/],
  [{ tokens: new Int32Array() }, /at least one token/],
  [{ tokens: [1, 704] }, "Expected a token id in [0, 704) for tokens[1] but received 704"],
  [{ tokens: [-1] }, /tokens\[0\] but received -1$/],
  [{ tokens: [0.5] }, /tokens\[0\] but received 0\.5$/],
  [{ tokens: [1, nan] }, /tokens\[1\] but received NaN$/],
  [{ tokens: ["1"] }, /tokens\[0\] but received '1' \(string\)$/],
  [{ tokens: Array(2) }, /tokens\[0\] but received undefined$/],
  [{ tokens: BigInt64Array.of(1n) }, /tokens\[0\] but received 1n \(bigint\)$/],
  [{ tokens: Float32Array.of(1.5) }, /tokens\[0\] but received 1\.5$/],
  [{ tokens: "12" }, /an array or a typed array of token ids for tokens but received '12'/],
  [{ tokens: 12 }, /an array or a typed array of token ids/],
  [{ tokens: null }, /an array or a typed array of token ids/],
  [{ tokens: [1], temperature: 0 }, /known option in prompt but received 'temperature'/],
  [{ text: "a", foo: 1 }, /received 'foo'\. Known: text, tokens, messages, tools, enableThinking, /],
  [{ text: "a", tools: [] }, "Expected tools with messages only in prompt but received it with text"],
  [{ tokens: [1], enableThinking: true }, /^Expected enableThinking with messages only in prompt/],
  [{ tokens: [1], constructor: 1 }, /received 'constructor'/],
  [{ messages: [{ role: "user", content: "x" }], enableThinking: "yes" }, /a boolean for enableThinking/],
  [
    { messages: [{ role: "user", content: "x" }], addGenerationPrompt: 1 },
    /a boolean for addGenerationPrompt/,
  ],
  [{ messages: [{ role: "user", content: "x" }], chatTemplate: 5 }, /a string for chatTemplate/],
  [
    { messages: [{ role: "user", content: "x" }], add_generation_prompt: true },
    /did you mean addGenerationPrompt\?/,
  ],
  [{ messages: "hello" }, /messages/],
  [{ messages: [] }, /messages/],
  [{ messages: [null] }, /messages\[0\]/],
  [{ messages: ["hello"] }, /messages\[0\]/],
  [{ messages: [{ content: "no role" }] }, /role/],
  [
    { messages: [{ role: "User", content: "x" }] },
    /^Expected 'user' for messages\[0\]\.role but received 'User'/,
  ],
  [{ messages: [{ role: "user", contents: "x" }] }, /'contents'.*did you mean content\?/],
  [{ messages: [{ role: "user", content: "x" }], tools: "all" }, /tools/],
  [
    { messages: [{ role: "user", content: "lone \ud800" }] },
    /for messages\[0\]\.content .*surrogate.* at index 5$/,
  ],
  [{ messages: [{ role: "user", content: "x" }], chatTemplate: "{% if" }, /template/i, "TEMPLATE_ERROR"],
  [
    { messages: [{ role: "user", content: "x" }], chatTemplate: "{{ raise_exception('not like this') }}" },
    /not like this/,
    "TEMPLATE_ERROR",
  ],
  [
    { tokens: Array(2048).fill(1) },
    /at most 2047 tokens but received 2048\b.*2048 tokens/,
    "PROMPT_TOO_LONG",
  ],
  [{ tokens: new Uint16Array(60_000) }, /at most 2047 tokens but received 60000\b/, "PROMPT_TOO_LONG"],
  [
    { tokens: { length: 2 ** 24 } }, // refused by its length, not read
    /at most 2047 tokens but received 16777216\b/,
    "PROMPT_TOO_LONG",
  ],
  ["long ".repeat(1_000), /at most 2047 tokens but received \d{4,}: the context/, "PROMPT_TOO_LONG"],
  [
    "long ".repeat(50_000), // by its length alone
    /at most 2047 tokens but received at least 10417 \(a text of 250000 characters\): the context holds 2048/,
    "PROMPT_TOO_LONG",
  ],
  [
    { messages: [{ role: "user", content: "long ".repeat(50_000) }] }, // so, too, once it is rendered
    /at most 2047 tokens but received at least 104\d\d \(a text of 250\d\d\d characters\)/,
    "PROMPT_TOO_LONG",
  ],
];

const scoreRows: Row[] = [
  ...option("from", "an integer in [0, 2147483647]", -1, 0.5, "0", nan, null),
  [
    { from: 8 },
    /^(?:prompt\[0\]: )?Expected at most the input's length of 7 tokens for from but received 8$/,
  ],
  ...option("topLogprobs", "an integer in [0, 1024]", -1, 1025, true),
  ...option("tokenIds", "a token id in [0, 704)", [704], [-1], ["5"]),
  ...option("tokenIds", "an array or a typed array of token ids", 5, "5", null),
  [{ top_logprobs: 1 }, /did you mean topLogprobs\?/],
  [{ temperature: 0 }, /received 'temperature'/],
  [ownProto, /received '__proto__'/],
  [null, /^Expected an object for score options but received null$/],
  [[], /an array of length 0/],
];

const embedRows: Row[] = [
  ...option("pooling", "'last' or 'mean' or 'cls'", "max", "", null, 1, ["last"]),
  ...option("normalize", "a boolean", 1, "true", null),
  ...option("dimensions", "an integer in [1, 192]", 0, -1, 193, 1.5, "64", nan, null),
  ...option("instruct", "a string without lone surrogates", 5, null, {}, "\ud800"),
  ...option("cacheSalt", "a string without lone surrogates", 5, null),
  ...option("signal", "an AbortSignal", {}, "abort"),
  [
    { instruct: "Find rooms" },
    /^(?:prompt\[0\]: )?Expected a text for prompt, .* instruct .* but received tokens or messages$/,
  ],
  [{ normalise: true }, /'normalise': did you mean normalize\?/],
  [{ temperature: 0 }, /received 'temperature'/],
  [ownProto, /received '__proto__'/],
  [null, /^Expected an object for embed options but received null$/],
  [[], /an array of length 0/],
];

const loadRows: Row[] = [
  [{ device: "gpu" }, /for device but received 'gpu' \(string\)$/],
  ...option("threads", "an integer in [1, 1024]", 0, -1, 1.5, "2", nan, infinity, 1025),
  ...option("kvCacheTokens", "an integer in [1, 2147483647]", 0, 1.5, "1000", 2 ** 53),
  ...option("maxContext", "an integer in [1, 2147483647]", 0, "100", nan),
  [{ maxContext: 4096 }, /at most the checkpoint's context of 2048 tokens for maxContext but received 4096$/],
  ...option("maxBatchTokens", "an integer in [1, 65536]", 0, 65537, "64"),
  ...option("maxSequences", "an integer in [1, 65536]", 0, 65537, null),
  ...option("memoryFraction", "a number in (0, 1]", 0, 1.1, "0.5", nan),
  ...option("onProgress", "a function", 5, {}, null),
  ...option("signal", "an AbortSignal", {}, 5),
  [{ thread: 2 }, /did you mean threads\?/],
  [{ max_batch_tokens: 2 }, /did you mean maxBatchTokens\?/],
  ...option("prefixCache", "a boolean", 1, "true", null),
  ...option("maxQueue", "an integer in [1, 2147483647]", 0, 1.5, "5"),
  ...option("tensorParallel", "an integer in [1, 1024]", 0, 1.5, "2"),
  [
    { tensorParallel: 3 },
    /^Expected a divisor of R_max = 2 .*6, 2 and 512\) for tensorParallel but received 3$/,
  ],
  [{ kvCacheTokens: 2 ** 31 - 1 }, /KV cache of 2147483647 tokens takes \d+ bytes/, "OUT_OF_MEMORY"],
  [{ speculation: false }, /speculation is not supported/, "NOT_SUPPORTED"],
  ...option("revision", "a string", 5, null),
  [{ revision: "main" }, /^Expected a Hub id .*, since revision is given, for model but received '/],
  [{ weights: "mmap" }, /for weights but received 'mmap'/],
  [ownProto, /received '__proto__'/],
  [null, /^Expected an object for Engine\.load options but received null$/],
  [[], /an array of length 0/],
  ["cpu", /received 'cpu' \(string\)/],
];

const modelRows: Row[] = [
  [undefined, /model/],
  [null, /model/],
  ["", /model/],
  [5, /model/],
  [{ model: kDemoModel }, /model/],
  [`${kDemoModel}/nowhere`, /nowhere: Expected a directory .* nothing of this name/, "MODEL_NOT_FOUND"],
  [
    "gpt2",
    /gpt2: Expected .*, or a Hub id \(owner\/name\), but there is nothing of this name$/,
    "MODEL_NOT_FOUND",
  ],
  ["x".repeat(1e5), /^.{1900,2000}$/, "MODEL_NOT_FOUND"],
  [`${kDemoModel}/config.json`, /this is not a directory/, "MODEL_NOT_FOUND"],
  ["with\0zero", /zero/, "MODEL_NOT_FOUND"],
];

const boom = (): never => {
  throw new Error("boom");
};
function revoked(target: object): object {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}
/** Throws something that cannot even be looked at. */
const throwing = (target: object) =>
  new Proxy(target, {
    get: () => {
      throw revoked({});
    },
    ownKeys: boom,
    getPrototypeOf: boom,
  });
const hostileObjects: [string, () => unknown][] = [
  ["a revoked object", () => revoked({})],
  ["a revoked array", () => revoked([])],
  ["a proxy", () => throwing({})],
  ["a proxy of an array", () => throwing([1])],
  ["a getter", () => Object.defineProperty({}, "tokens", { get: boom, enumerable: true })],
  ["an array's getter", () => Object.defineProperty([1], 0, { get: boom })],
  ["a getter as length", () => Object.defineProperty({}, "length", { get: boom, enumerable: true })],
  ["an object that throws as a string or a number", () => ({ toString: boom, valueOf: boom })],
];

describe("misuse", () => {
  let engine: Engine;
  let expected: number[];
  const serve = async () => (await engine.generate(kTokens, { ...kEndless, maxTokens: 3 })).tokens;

  beforeAll(async () => {
    engine = await Engine.load(kDemoModel, { threads: 1 });
    expected = await serve();
  });
  afterAll(() => engine.close());

  async function drain(prompt: Prompt, sampling?: SamplingOptions): Promise<void> {
    for await (const _ of engine.stream(prompt, sampling));
  }

  it("gives errors whose message outlives JSON", async () => {
    const error = await engine.generate("").catch((thrown) => thrown);
    expect(JSON.parse(JSON.stringify({ error }))).toEqual({
      error: { name: "LockstepError", code: "INVALID_ARGUMENT", message: error.message },
    });
  });

  it.each(samplingRows)("of sampling options: %o", async (...row) => {
    const options = row[0] as SamplingOptions;
    await expectRefusal(() => engine.generate(kTokens, options), row);
    await expectRefusal(() => engine.generate([kTokens, kTokens], options), row);
    await expectRefusal(() => drain(kTokens, options), row);
    expect(await serve()).toEqual(expected);
  });

  it.each(promptRows)("of prompts: %o", async (...row) => {
    const prompt = row[0] as Prompt;
    await expectRefusal(() => engine.generate(prompt, { maxTokens: 1 }), row);
    await expectRefusal(() => drain(prompt, { maxTokens: 1 }), row);
    if (!/2047/.test(String(row[1]))) {
      await expectRefusal(() => engine.score(prompt), row); // score and embed need no room
      await expectRefusal(() => engine.embed(prompt), row);
    }
    expect(await serve()).toEqual(expected);
  });

  it("of one prompt in an array, found before any is run", async () => {
    const { promptTokens } = engine.stats();
    await expectRefusal(
      () => engine.generate([kTokens, { tokens: [704] }]),
      [0, "prompt[1]: Expected a token id in [0, 704) for tokens[0] but received 704"],
    );
    await expectRefusal(
      () => engine.generate([1, 2, 3] as unknown as Prompt[]),
      [0, /^prompt\[0\]: Expected .* for prompt but received 1$/],
    );
    await expectRefusal(
      () => engine.generate([["a"]] as unknown as Prompt[]),
      [0, /for prompt but received an array/],
    );
    expect(engine.stats().promptTokens).toBe(promptTokens);
  });

  it.each(scoreRows)("of score options: %o", async (...row) => {
    await expectRefusal(() => engine.score(kTokens, row[0] as ScoreOptions), row);
    await expectRefusal(() => engine.score([kTokens, kTokens], row[0] as ScoreOptions), row);
    expect(await serve()).toEqual(expected);
  });

  it.each(embedRows)("of embed options: %o", async (...row) => {
    await expectRefusal(() => engine.embed(kTokens, row[0] as EmbedOptions), row);
    await expectRefusal(() => engine.embed([kTokens, kTokens], row[0] as EmbedOptions), row);
    expect(await serve()).toEqual(expected);
  });

  it("of what an instruction is for, before anything is embedded", async () => {
    const options = { instruct: "Find rooms" };
    const messages = [{ role: "user", content: "x" }];
    const refused = /^prompt\[1\]: Expected a text for prompt, since instruct goes before texts only/;
    await expectRefusal(() => engine.embed(["lamp", { messages }], options), [messages, refused]);
    await expectRefusal(() => engine.embed("", options), ["", /non-empty text/]);
  });

  it("of an input to score that does not fit", async () => {
    const row: Row = [0, /at most 2048 tokens but received 2049\b/, "PROMPT_TOO_LONG"];
    await expectRefusal(() => engine.score({ tokens: Array(2049).fill(1) }), row);
    const text = "long ".repeat(20_000);
    await expectRefusal(
      () => engine.score(text),
      [text, /at most 2048 .* at least 4167 /, "PROMPT_TOO_LONG"],
    );
    expect((await engine.score({ tokens: Array(2048).fill(1) }, { from: 2040 })).logprobs).toHaveLength(8);
  });

  it.each(loadRows)("of load options: %o", async (...row) => {
    await expectRefusal(() => Engine.load(kDemoModel, row[0] as object), row);
  });

  it.each([{ device: "cuda" }, { device: ["cuda:0", "cuda:1"] }])(
    "of what this version does not have: %o",
    async (options) => {
      const error = await refusal(() => Engine.load(kDemoModel, options as object));
      expect(error).toMatchObject({ code: "NOT_SUPPORTED", message: expect.stringContaining("device") });
    },
  );

  it.each(modelRows)("of the model's place: %o", async (...row) => {
    await expectRefusal(() => Engine.load(row[0] as string), row);
  });

  it("of the compute path, which is named among those there are", async () => {
    process.env.LOCKSTEP_COMPUTE_PATH = "quantum";
    const error = await refusal(() => Engine.load(kDemoModel));
    delete process.env.LOCKSTEP_COMPUTE_PATH;
    expect(error).toMatchObject({
      code: "NOT_SUPPORTED",
      message: expect.stringMatching(/'quantum'.*'portable'/),
    });
  });

  it.each(hostileObjects)("of objects that throw when they are read: %s", async (_, make) => {
    const calls: (() => unknown)[] = [
      () => engine.generate(make() as Prompt),
      () => engine.generate([kTokens, make() as Prompt]),
      () => engine.generate({ tokens: make() as number[] }),
      () => engine.generate({ messages: make() as never }),
      () => engine.generate({ messages: [make() as never] }),
      () => engine.generate(kTokens, make() as object),
      () => engine.generate(kTokens, { logitBias: make() as never }),
      () => engine.generate(kTokens, { stop: make() as never }),
      () => engine.generate(kTokens, { stopTokenIds: make() as never }),
      () => engine.generate(kTokens, { signal: make() as never }),
      () => drain(make() as Prompt),
      () => drain(kTokens, make() as object),
      () => engine.score(make() as Prompt),
      () => engine.score([make() as Prompt]),
      () => engine.score(kTokens, make() as object),
      () => engine.embed(make() as Prompt),
      () => engine.embed([make() as Prompt], { instruct: "Find rooms" }),
      () => engine.embed(kTokens, make() as object),
      () => engine.score(kTokens, { tokenIds: make() as never }),
      () => Engine.load(kDemoModel, make() as object),
      () => Engine.load(kDemoModel, { device: make() as never }),
      () => measureFloors(make() as object),
      () => samplingDistribution(make() as number[]),
      () => samplingDistribution([1, 2], make() as object),
      () => samplingDistribution([1, 2], {}, make() as number[]),
      () => samplingDistribution([1, 2], {}, { output: make() as number[] }),
      () => engine.tokenizer.encode(make() as string),
      () => engine.tokenizer.decode(make() as number[]),
      () => engine.tokenizer.decode([1], make() as object),
      () => engine.tokenizer.decodeStream(make() as object),
      () => engine.tokenizer.decodeStream().push(make() as number),
      () => engine.tokenizer.tokenBytes(make() as number),
      () => engine.tokenizer.applyChatTemplate(make() as never),
      () => engine.tokenizer.applyChatTemplate([make() as never]),
      () => engine.tokenizer.applyChatTemplate([{ role: "user", content: "x" }], make() as never),
      () => Tokenizer.fromDirectory(make() as string),
    ];
    for (const call of calls) await expectRefusal(call, [String(call), /^(prompt\[\d\]: )?Expected /]);
    expect(await serve()).toEqual(expected);
  });

  it("of one element of an array that throws, which is named", async () => {
    const prompts = [kTokens, kTokens];
    Object.defineProperty(prompts, 1, { get: boom });
    const row: Row = ["a getter", "Expected prompt[1] that can be read but reading it threw: boom"];
    await expectRefusal(() => engine.generate(prompts), row);
    await expectRefusal(() => engine.score(prompts), row);
  });

  it("of arrays with an iterator of their own: their indices count", async () => {
    function* endless() {
      for (;;) yield kTokens;
    }
    const strange = <T extends object>(list: T, iterator: () => unknown) =>
      Object.assign(list, { [Symbol.iterator]: iterator }) as never;
    const options = { ...kEndless, maxTokens: 1 };
    expect(await engine.generate(strange([kTokens], endless), options)).toHaveLength(1);
    expect(await engine.score(strange([kTokens, kTokens], boom))).toHaveLength(2);
    expect(samplingDistribution(strange([0, 0], [][Symbol.iterator]))).toEqual(Float32Array.of(0.5, 0.5));
    const { text } = await engine.generate(kTokens, { ...options, stop: strange(["never"], endless) });
    expect(text).toBeTypeOf("string");
    const names = strange(["cuda:9", "cuda:9"], endless);
    await expectRefusal(
      () => Engine.load(kDemoModel, { device: names }),
      ["", /cuda:9|device/, "NOT_SUPPORTED"],
    );
    const tooMany = strange(Array(1_000_001), () => [][Symbol.iterator]());
    await expectRefusal(() => engine.generate(tooMany), ["", /^Expected at most 1000000 prompts in a call/]);
  });

  it("of what is a signal in name alone", async () => {
    const signal = Object.create(AbortSignal.prototype);
    const row: Row = ["", "Expected an AbortSignal for signal but received an object (AbortSignal)"];
    await expectRefusal(() => engine.generate(kTokens, { signal }), row);
    await expectRefusal(() => engine.score(kTokens, { signal }), row);
    await expectRefusal(() => Engine.load(kDemoModel, { signal }), row);
  });

  it("of a signal that turns bad after it was checked: one request's error, and the engine goes on", async () => {
    /** Its `name` throws from the `reads`-th reading on. */
    const souring = (name: "aborted" | "addEventListener", reads: number) => {
      const { signal } = new AbortController();
      const value = signal[name];
      return Object.defineProperty(signal, name, { get: () => (reads-- > 0 ? value : boom()) });
    };
    const submitted = () => souring("aborted", 1);
    const started = () => souring("addEventListener", 0);
    const calls: [() => unknown, ErrorCode][] = [
      [() => engine.generate(kTokens, { maxTokens: 1, signal: submitted() }), "CALLBACK_FAILED"],
      [() => drain(kTokens, { maxTokens: 1, signal: submitted() }), "CALLBACK_FAILED"],
      [() => engine.generate(kTokens, { maxTokens: 1, signal: started() }), "INVALID_ARGUMENT"],
      [() => engine.score(kTokens, { signal: started() }), "INVALID_ARGUMENT"],
    ];
    for (const [call, code] of calls) {
      const error = await refusal(call);
      expect(error).toMatchObject({ code, message: expect.stringMatching(/^Expected .* threw: boom$/) });
      expect(error.cause).toMatchObject({ message: "boom" });
    }
    expect(await serve()).toEqual(expected);
  });

  it("of constructors, which name what to call instead", async () => {
    for (const args of [[], [kDemoModel], [{}]]) {
      const construct = (type: unknown) => new (type as new (...args: unknown[]) => object)(...args);
      await expectRefusal(
        () => construct(Engine),
        ["", /^Expected await Engine\.load\(model\) to make an engine/],
      );
      await expectRefusal(() => construct(Tokenizer), ["", /^Expected await Tokenizer\.fromDirectory\(/]);
    }
  });

  it("is not: what another realm or an array-like gives", async () => {
    const options = { ...kEndless, maxTokens: 1 };
    const logitBias = runInNewContext("new Map([[300, 1e6]])");
    expect((await engine.generate(kTokens, { ...options, logitBias })).tokens).toEqual([300]);
    const penalty = { presencePenalty: 100 };
    expect(samplingDistribution({ length: 2, 0: 0, 1: 0 }, penalty, { length: 1, 0: 1 })).toEqual(
      samplingDistribution([0, 0], penalty, [1]),
    );
    expect(Object.is((await engine.generate(kTokens, { ...options, seed: -0 })).seed, 0)).toBe(true);
  });

  it("is not what undefined is: absent", async () => {
    const absent = {
      temperature: undefined,
      maxTokens: 3,
      stop: undefined,
      signal: undefined,
      notAnOption: undefined,
    };
    expect((await engine.generate(kTokens, absent as object)).tokens).toHaveLength(3);
    expect((await engine.generate(kTokens, undefined)).finishReason).toBeDefined();
  });

  it("leaves no trace on what others share", async () => {
    expect(({} as Record<string, unknown>).temperature).toBeUndefined();
    const { running, queue, blocks } = engine.stats();
    expect({ running, queue, owned: blocks.owned }).toEqual({ running: 0, queue: 0, owned: 0 });
  });
});
