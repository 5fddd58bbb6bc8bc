/** Options as careless and hostile callers pass them: arbitraries for fast-check. */
import fc from "fast-check";

export const kSamplingKeys = [
  ...[
    "maxTokens",
    "minTokens",
    "temperature",
    "topK",
    "topP",
    "minP",
    "repetitionPenalty",
    "presencePenalty",
  ],
  ...[
    "frequencyPenalty",
    "logitBias",
    "n",
    "seed",
    "sampleIndex",
    "stop",
    "stopTokenIds",
    "includeStop",
    "ignoreEos",
  ],
  ...["logprobs", "topLogprobs", "keptTokenIds", "promptLogprobs", "forcedTokens", "cacheSalt", "signal"],
];
export const kScoreKeys = ["topLogprobs", "tokenIds", "from", "cacheSalt", "signal"];
export const kPromptKeys = ["text", "tokens", "messages", "tools", "enableThinking", "chatTemplate"];
export const kLoadKeys = [
  ...[
    "device",
    "tensorParallel",
    "memoryFraction",
    "kvCacheTokens",
    "maxContext",
    "maxBatchTokens",
    "maxSequences",
  ],
  ...["threads", "prefixCache", "maxQueue", "weights", "revision", "onProgress", "signal", "speculation"],
];
const kWrongKeys = [
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "",
  "top_p",
  "maxtokens",
  "0",
];

const kNumbers = [
  ...[
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    -1,
    -0,
    0,
    0.5,
    1,
    2,
    3.5,
    64,
    63,
    511,
    512,
    513,
    1e308,
    5e-324,
  ],
  ...[
    1e-46,
    1e-39,
    2 ** 31,
    2 ** 31 - 1,
    -(2 ** 31),
    2 ** 32,
    2 ** 32 - 1,
    2 ** 53,
    2 ** 53 - 1,
    -(2 ** 53),
    100,
    -100,
    1e6,
    1e7,
  ],
];
const kOddities: (() => unknown)[] = [
  ...kNumbers.map((number) => () => number),
  ...["", "1", "NaN", "auto", "\ud800", "x".repeat(1000)].map((text) => () => text),
  ...kNumbers.map((number) => () => [number]),
  ...kNumbers.map((number) => () => ({ 3: number })),
  ...[null, true, false, 1n].map((value) => () => value),
  () => Symbol("x"),
  () => () => 1,
  () => Int32Array.of(1, 2),
  () => Float64Array.of(0.5),
  () => new DataView(new ArrayBuffer(4)),
  () => new Map([[1, -5]]),
  () => new Map<unknown, unknown>([["1", "2"]]),
  () => Object.create(null),
  () => Object.create({ temperature: 5 }),
  () =>
    JSON.parse('{ "__proto__": { "polluted": true }, "constructor": { "prototype": { "polluted": true } } }'),
  () => ({ constructor: 1 }),
  () => new Date(0),
  () => Array(3),
  () => ["cuda:0"],
  () => ["cuda:0", "cuda:0"],
  () => [1n],
  () => Object.assign(Array(3), { 0: "a", 2: "b" }),
  () => Object.assign([1, 2], { length: 2, extra: 1 }),
  () => new AbortController().signal,
  () => new Proxy({}, {}),
];

/** What some option allows. */
const kOrdinary: (() => unknown)[] = [
  0,
  1,
  2,
  0.5,
  20,
  true,
  false,
  "",
  undefined,
  () => [1, 2],
  () => ({ 5: 1.5 }),
].map((value) => (typeof value === "function" ? value : () => value));

export const values = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...kOrdinary).map((make) => make()) },
  { weight: 4, arbitrary: fc.constantFrom(...kOddities).map((make) => make()) },
  {
    weight: 1,
    arbitrary: fc.anything({
      withBigInt: true,
      withMap: true,
      withNullPrototype: true,
      withTypedArray: true,
    }),
  },
  { weight: 1, arbitrary: fc.double() },
  { weight: 1, arbitrary: fc.integer() },
);

/** Up to three options, own and enumerable, "__proto__" included. */
export const optionsOf = (keys: string[]) =>
  fc
    .array(
      fc.tuple(
        fc.oneof(
          { weight: 12, arbitrary: fc.constantFrom(...keys) },
          { weight: 1, arbitrary: fc.constantFrom(...kWrongKeys) },
        ),
        values,
      ),
      {
        minLength: 1,
        maxLength: 3,
      },
    )
    .map((entries) => {
      const options = {};
      for (const [key, value] of entries)
        Object.defineProperty(options, key, { value, enumerable: true, configurable: true, writable: true });
      return options as Record<string, unknown>;
    });

/** What a getter or a proxy of the caller's may throw: not only errors. */
const kThrown: unknown[] = [new Error("the caller's"), "a string", null, undefined, Symbol("thrown"), 1n];

/** Makes an object that throws at some moment when it is looked into. */
type MakeHostile = (fail: () => never) => object;
const kTraps = ["get", "has", "ownKeys", "getPrototypeOf", "getOwnPropertyDescriptor"] as const;
const withGetter = (target: object, key: PropertyKey, get: () => never) =>
  Object.defineProperty(target, key, { get, enumerable: true });
const kHostile: MakeHostile[] = [
  ...[{ 3: 1, temperature: 1, length: 1 }, [1, 2], new Map([[1, 2]])].flatMap((target) =>
    kTraps.map(
      (trap): MakeHostile =>
        (fail) =>
          new Proxy(target, { [trap]: fail }),
    ),
  ),
  ...[{}, []].map((target) => () => {
    const { proxy, revoke } = Proxy.revocable<object>(target, {});
    revoke();
    return proxy;
  }),
  (fail) => withGetter([1, 2], 1, fail),
  (fail) => withGetter([1], Symbol.iterator, fail),
  (fail) => withGetter({}, "length", fail),
  (fail) => withGetter({ length: 2 }, 1, fail),
  (fail) => withGetter({}, 3, fail),
  (fail) => ({ [Symbol.toPrimitive]: fail, toString: fail, valueOf: fail }),
];

/**
 * Makers of options that throw when they are read: the object itself, one of its values, or the getter of one.
 * fast-check looks into what it generates, so what it generates is functions.
 */
export const hostileOptionsOf = (keys: string[]): fc.Arbitrary<() => unknown> =>
  fc
    .record({
      place: fc.constantFrom("object", "value", "getter"),
      options: optionsOf(keys),
      key: fc.constantFrom(...keys),
      form: fc.nat(kHostile.length - 1),
      thrown: fc.nat(kThrown.length - 1),
    })
    .map((recipe) => {
      const { place, options, key, form, thrown } = recipe;
      const fail = (): never => {
        throw kThrown[thrown];
      };
      const make = () => {
        if (place === "object") return kHostile[form]!(fail);
        const given = Object.defineProperties({}, Object.getOwnPropertyDescriptors(options));
        if (place === "getter") return withGetter(given, key, fail);
        return Object.defineProperty(given, key, { value: kHostile[form]!(fail), enumerable: true });
      };
      return Object.assign(make, { toString: () => fc.stringify(recipe) }); // what a failure shows
    });
