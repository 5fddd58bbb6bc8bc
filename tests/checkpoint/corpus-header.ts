/**
 * Malformed safetensors files for the corpus: lengths, JSON, entries, offsets, coverage. Test support, pure.
 */
import { type BadCase, badCase } from "./corpus-case.js";
import {
  type Entry,
  type Header,
  type HeaderEntry,
  kWeights,
  layOut,
  rawSafetensors,
  tinyFiles,
  tinySpecs,
} from "./tiny.js";

const kFile = /model\.safetensors: /;
const kNorm = "model.norm.weight";
const kNormName = /'model\.norm\.weight'/;

export function headerCases(): BadCase[] {
  return [...lengthCases(), ...jsonCases(), ...entryCases(), ...offsetCases()];
}

function raw(name: string, bytes: Entry, ...message: RegExp[]): BadCase {
  return badCase(name, tinyFiles({ [kWeights]: bytes }), kFile, ...message);
}

function lengthCases(): BadCase[] {
  const { header, dataBytes } = layOut(tinySpecs());
  const text = JSON.stringify(header);
  const file = rawSafetensors(text, dataBytes);
  const cases: BadCase[] = [];
  for (const size of [0, 1, 7])
    cases.push(raw(`file of ${size} bytes`, file.subarray(0, size), /Expected at least 8 bytes/));
  cases.push(raw("file of 8 bytes", file.subarray(0, 8), /its length says/));
  const left = file.length - 8;
  for (const [name, length] of [
    ["2^63", 1n << 63n],
    ["2^64 - 1", (1n << 64n) - 1n],
    ["2^64 - 8", (1n << 64n) - 8n],
    ["2^53", 1n << 53n],
    ["2^32", 1n << 32n],
    ["over 100 MB", 100_000_001n],
    ["100 MB", 100_000_000n],
    ["the file + 1", BigInt(left + 1)],
    ["the whole file, with the length", BigInt(file.length)],
  ] as const)
    cases.push(
      raw(
        `header length ${name}`,
        rawSafetensors(text, dataBytes, length),
        /Expected a header of at most \d+ bytes.*its length says \d+/,
      ),
    );
  for (const sizeBytes of [100_000_100, 5_000_000_000])
    cases.push(
      raw(
        `header over 100 MB in a file of ${sizeBytes}`,
        { sparse: rawSafetensors(text, 0, 100_000_001n), sizeBytes },
        /at most 100000000 bytes/,
      ),
    );
  cases.push(
    raw(
      "header of 90 MB",
      { sparse: rawSafetensors(text, 0, 90_000_000n), sizeBytes: 95_000_000 },
      /this reader's limit/,
    ),
  );
  for (const delta of [-1, -2, 1, 5, 8])
    cases.push(
      raw(
        `header length off by ${delta}`,
        rawSafetensors(text, dataBytes, BigInt(text.length + delta)),
        /Expected/,
      ),
    );
  cases.push(raw("header length 0", rawSafetensors(text, dataBytes, 0n), /begin with '\{'/));
  cases.push(raw("header length 1", rawSafetensors(text, dataBytes, 1n), /received the end of the text/));
  for (const cut of [1, 2, 7, 100, dataBytes])
    cases.push(raw(`${cut} bytes cut off`, file.subarray(0, -cut), /tensor '.*': .*truncated\?/));
  for (const tail of [1, 8, 4096])
    cases.push(
      raw(
        `${tail} bytes appended`,
        Buffer.concat([file, Buffer.alloc(tail, 0x50)]),
        new RegExp(`${tail} trailing bytes`),
      ),
    );
  cases.push(raw("no tensors", rawSafetensors("{}", 0), /tensor '.*embed_tokens\.weight' is missing/));
  cases.push(raw("only trailing data", rawSafetensors("{}", 64), /64 trailing bytes/));
  return cases;
}

function jsonCases(): BadCase[] {
  const { header, dataBytes } = layOut(tinySpecs());
  const text = JSON.stringify(header);
  const cases: BadCase[] = [];
  const add = (name: string, json: string | Buffer, ...message: RegExp[]) =>
    cases.push(raw(`header: ${name}`, rawSafetensors(json, dataBytes), ...message));
  for (const start of [" ", "\n", "\uFEFF", "[", "x", "\0", '"', "<"])
    add(`begins with ${JSON.stringify(start)}`, start + text, /begin with '\{'/);
  for (const tail of ["\0", "x", "}", "{}", ",", "//"])
    add(`ends with ${JSON.stringify(tail)}`, text + tail, /Expected the end of the JSON text/);
  for (const [name, bytes] of [
    ["a lone continuation byte", [0x80]],
    ["an overlong slash", [0xc0, 0xaf]],
    ["an encoded surrogate", [0xed, 0xa0, 0x80]],
    ["a cut sequence", [0xe2, 0x82]],
    ["0xff", [0xff]],
    ["past U+10FFFF", [0xf4, 0x90, 0x80, 0x80]],
  ] as const)
    add(
      name,
      Buffer.concat([Buffer.from('{"'), Buffer.from(bytes), Buffer.from(`":${text}}`)]),
      /not valid UTF-8/,
    );
  const entry = JSON.stringify(header[kNorm]);
  add("a tensor twice", text.replace(/\}$/, `,"${kNorm}":${entry}}`), kNormName, /comes twice/);
  add(
    "a tensor twice, once escaped",
    text.replace(/\}$/, `,"model\\u002enorm.weight":${entry}}`),
    kNormName,
    /comes twice/,
  );
  add("__metadata__ twice", text.replace("{", '{"__metadata__":{},'), /'__metadata__'.*comes twice/);
  add(
    "a metadata key twice",
    text.replace('{"format":"pt"}', '{"format":"pt","format":"tf"}'),
    /'format'.*comes twice/,
  );
  for (const key of ["dtype", "shape", "data_offsets"])
    add(
      `${key} twice`,
      text.replace(`"${kNorm}":{`, `"${kNorm}":{"${key}":[],`),
      new RegExp(`'${key}'`),
      kNormName,
      /comes twice/,
    );
  for (const [open, close] of [
    ["[", "]"],
    ['{"a":', "}"],
  ] as const)
    for (const depth of [65, 10_000, 500_000])
      add(
        `${depth} deep ${open}`,
        `{"x":${open.repeat(depth)}1${close.repeat(depth)}}`,
        /at most 64 levels of nesting/,
      );
  add("10,000 open brackets and no end", `{"x":${"[".repeat(10_000)}`, /at most 64 levels of nesting/);
  add("too many values", `{"x":[${"1,".repeat(300_000)}1]}`, /at most 262144 keys and values/);
  for (const cut of [1, 2, 20, 60, 100, 150]) add(`cut at ${cut}`, text.slice(0, cut), /Expected/);
  for (const [name, from, to] of [
    ["trailing comma", /\}$/, ",}"],
    ["missing comma", /\},"/, '}"'],
    ["single quotes", /"dtype"/, "'dtype'"],
    ["bare key", /"dtype"/, "dtype"],
    ["comment", /"dtype"/, '/**/"dtype"'],
    ["missing colon", /"dtype":/, '"dtype"'],
    ["raw newline in a key", /"dtype"/, '"dty\npe"'],
    ["bad escape", /"dtype"/, '"dt\\xpe"'],
    ["short \\u", /"dtype"/, '"dt\\u12pe"'],
    ["lone surrogate", /"dtype"/, '"\\ud800"'],
    ["True for true", /"BF16"/, "True"],
    ["nul for null", /"BF16"/, "nul"],
  ] as const)
    add(
      name,
      text.replace(from, () => to),
      /Expected/,
    );
  for (const [name, metadata] of [
    ["null", null],
    ["a string", "pt"],
    ["an array", []],
    ["a nested object", { a: {} }],
    ["a null in it", { a: null }],
    ["a number in it", { a: 1 }],
    ["a list in it", { a: ["pt"] }],
  ] as const)
    add(`__metadata__ ${name}`, JSON.stringify(layOut(tinySpecs(), metadata).header), /__metadata__/);
  return cases;
}

/** The norm's entry changed, everything else intact; its data are the last 12 bytes. */
function withNorm(
  name: string,
  change: (entry: HeaderEntry) => unknown,
  reason: RegExp,
  extraBytes = 0,
): BadCase {
  const { header, dataBytes } = layOut(tinySpecs());
  const entry = { ...(header[kNorm] as HeaderEntry) };
  const changed: Header = { ...header, [kNorm]: change(entry) };
  return raw(
    `norm: ${name}`,
    rawSafetensors(JSON.stringify(changed), dataBytes + extraBytes),
    kNormName,
    reason,
  );
}

function entryCases(): BadCase[] {
  const cases: BadCase[] = [];
  for (const value of [null, 1, "x", [], true])
    cases.push(withNorm(`entry ${JSON.stringify(value)}`, () => value, /Expected an object/));
  for (const key of ["dtype", "shape", "data_offsets"]) {
    cases.push(
      withNorm(`without ${key}`, (e) => ({ ...e, [key]: undefined }), /Expected .* but received nothing/),
    );
    for (const value of [null, "", true, {}, [[]], ["6"], [null]])
      cases.push(withNorm(`${key} ${JSON.stringify(value)}`, (e) => ({ ...e, [key]: value }), /Expected/));
  }
  cases.push(withNorm("dtype 16", (e) => ({ ...e, dtype: 16 }), /Expected a safetensors dtype/));
  for (const dtype of ["bf16", "BFLOAT16", "F17", "Q4_0", "toString", "BF16 "])
    cases.push(withNorm(`dtype ${dtype}`, (e) => ({ ...e, dtype }), /Expected a safetensors dtype/));
  for (const key of ["extra", "dtypes", "__proto_", "byte_order"])
    cases.push(withNorm(`key ${key}`, (e) => ({ ...e, [key]: 1 }), /data_offsets only but received/));
  return cases;
}

function offsetCases(): BadCase[] {
  const { header, dataBytes } = layOut(tinySpecs());
  const end = dataBytes;
  const begin = end - 12;
  const cases: BadCase[] = [];
  const offsets = (name: string, value: unknown, reason: RegExp) =>
    cases.push(withNorm(`offsets ${name}`, (e) => ({ ...e, data_offsets: value }), reason));
  offsets("begin > end", [end, begin], /begin <= end/);
  offsets("past the end", [begin, end + 1], /truncated\?/);
  offsets("all past the end", [end, end + 12], /truncated\?/);
  offsets("2^53 - 1", [begin, Number.MAX_SAFE_INTEGER], /truncated\?/);
  offsets("one byte short", [begin, end - 1], /Expected 12 bytes/);
  offsets("empty", [begin, begin], /Expected 12 bytes/);
  offsets("one number", [begin], /Expected \[begin, end\]/);
  offsets("three numbers", [begin, end, end], /Expected \[begin, end\]/);
  offsets("overlap by 1", [begin - 1, end - 1], /overlap/);
  offsets("onto the first tensor", [0, 12], /overlap|hole/);
  // What JSON.stringify cannot write: the number as text.
  const norm = JSON.stringify((header[kNorm] as HeaderEntry).data_offsets);
  for (const number of [
    "-1",
    "-0",
    "1.0",
    "1e2",
    "0.5",
    "1e400",
    "9007199254740992",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "01",
    "+1",
    ".5",
    "1.",
    "0x10",
    "NaN",
    "Infinity",
    "-Infinity",
    "1_000",
    `1${"0".repeat(3000)}`,
  ])
    for (const [where, value] of [
      ["begin", `[${number},${end}]`],
      ["end", `[${begin},${number}]`],
    ] as const) {
      const text = JSON.stringify(header).replace(norm, () => value);
      cases.push(
        raw(`offset ${where} ${number.slice(0, 40)}`, rawSafetensors(text, dataBytes), kNormName, /Expected/),
      );
    }
  for (const number of ["-6", "6.0", "1e1", "9007199254740992", "18446744073709551616", "NaN", "null"]) {
    const text = JSON.stringify(header).replace(
      `"shape":[6],"data_offsets":${norm}`,
      `"shape":[${number}],"data_offsets":${norm}`,
    );
    cases.push(raw(`dimension ${number}`, rawSafetensors(text, dataBytes), kNormName, /Expected/));
  }
  for (const [name, shape] of [
    ["2^32 × 2^32", [2 ** 32, 2 ** 32]],
    ["2^31 × 2^31 × 4 + 6 (wraps to 6)", [2 ** 31, 2 ** 31, 4]],
    ["2^53 - 1 twice", [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]],
    ["2^53 - 1", [Number.MAX_SAFE_INTEGER]],
    ["2^40 × 2^40 × 0", [2 ** 40, 2 ** 40, 0]],
    ["1,000 twos", Array(1000).fill(2)],
  ] as const)
    cases.push(withNorm(`shape ${name}`, (e) => ({ ...e, shape }), /below 2\^53|Expected 0 bytes/));
  for (const shape of [[7], [5], [3], [6, 2], [0], [], [1_000_000]])
    cases.push(withNorm(`shape [${shape}]`, (e) => ({ ...e, shape }), /Expected \d+ bytes for shape/));
  for (const dtype of ["F32", "U8", "F64", "F4", "C64"])
    cases.push(
      withNorm(`dtype ${dtype} on 12 bytes`, (e) => ({ ...e, dtype }), /Expected \d+ bytes for shape \[6\]/),
    );
  cases.push(withNorm("F6 in half bytes", (e) => ({ ...e, dtype: "F6_E2M3", shape: [3] }), /whole bytes/));
  for (const hole of [1, 2, 64])
    cases.push(
      withNorm(
        `hole of ${hole}`,
        (e) => ({ ...e, data_offsets: [begin + hole, end + hole] }),
        /a hole/,
        hole,
      ),
    );
  const shifted: Header = Object.fromEntries(
    Object.entries(header).map(([name, e]) =>
      name === "__metadata__" ? [name, e] : [name, shift(e as HeaderEntry, 8)],
    ),
  );
  cases.push(
    raw(
      "hole after the header",
      rawSafetensors(JSON.stringify(shifted), dataBytes + 8),
      /tensor 'model\.embed_tokens\.weight'/,
      /after the header/,
      /a hole/,
    ),
  );
  return cases;
}

function shift(entry: HeaderEntry, by: number): HeaderEntry {
  return { ...entry, data_offsets: (entry.data_offsets as number[]).map((offset) => offset + by) };
}
