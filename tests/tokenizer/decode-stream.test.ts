/**
 * Streaming must show exactly what decoding the whole shows, and never half a character. Ids are random, so most of the
 * bytes are broken UTF-8: that is what a model at high temperature produces.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytesOfToken, decodeUtf8, incompleteTail } from "../../src/tokenizer/text.js";
import { Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { describeIf } from "../support/shared.js";
import { ALPHABET, QWEN3_ABSENT, qwen3Directory, temporaryDirectory, tinyTokenizer } from "./fixtures.js";

/** Bytes that make valid, broken and overlong characters likely. */
const nastyByte = fc.constantFrom(
  0x41,
  0x80,
  0x8f,
  0x90,
  0x9f,
  0xa0,
  0xbf,
  0xc1,
  0xc3,
  0xe0,
  0xe2,
  0xed,
  0xf0,
  0xf4,
  0xf5,
);

function joined(tokenizer: Tokenizer, ids: number[], skipSpecialTokens: boolean): string {
  const stream = tokenizer.decodeStream({ skipSpecialTokens });
  return ids.map((id) => stream.push(id)).join("") + stream.flush();
}

describe("the pieces", () => {
  it("join to what decode gives, whatever the ids", async () => {
    const tokenizer = await Tokenizer.fromDirectory(
      temporaryDirectory({ "tokenizer.json": tinyTokenizer() }),
    );
    const id = fc.oneof(nastyByte, fc.integer({ min: 0, max: 320 }));
    fc.assert(
      fc.property(fc.array(id, { maxLength: 40 }), fc.boolean(), (ids, skipSpecialTokens) => {
        expect(joined(tokenizer, ids, skipSpecialTokens)).toBe(tokenizer.decode(ids, { skipSpecialTokens }));
      }),
      { numRuns: 3_000 },
    );
  });

  it("hold back an incomplete character, through skipped tokens too, and nothing else", async () => {
    const tokenizer = await Tokenizer.fromDirectory(
      temporaryDirectory({ "tokenizer.json": tinyTokenizer() }),
    );
    const stream = tokenizer.decodeStream({ skipSpecialTokens: true });
    expect([0x61, 0xf0, 0x9f, 300, 999, 0x98, 0x80, 0x80].map((id) => stream.push(id))).toEqual([
      "a",
      "",
      "",
      "",
      "",
      "",
      "\u{1f600}",
      "\ufffd",
    ]);
    expect(stream.push(0xe2)).toBe("");
    expect(stream.push(0x41)).toBe("\ufffdA");
    expect(stream.push(0xe2)).toBe("");
    expect(stream.flush()).toBe("\ufffd");
    expect(stream.flush()).toBe("");
  });
});

describe("incompleteTail", () => {
  /** The definition: the longest end that some continuation turns into one whole character. */
  function naive(bytes: number[]): number {
    const ends = [[], [0x80], [0x80, 0x80]];
    const continuations = [0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf].flatMap((b) => ends.map((end) => [b, ...end]));
    const fatal = new TextDecoder("utf-8", { fatal: true });
    for (let back = Math.min(3, bytes.length); back >= 1; --back) {
      for (const more of continuations) {
        try {
          if ([...fatal.decode(Uint8Array.from([...bytes.slice(-back), ...more]))].length === 1) return back;
        } catch {}
      }
    }
    return 0;
  }

  it("counts what a continuation can complete, and no more", () => {
    fc.assert(
      fc.property(fc.array(nastyByte, { maxLength: 5 }), (bytes) => {
        expect(incompleteTail(Uint8Array.from(bytes))).toBe(naive(bytes));
      }),
      { numRuns: 5_000 },
    );
  });
});

describe("the byte alphabet", () => {
  it("has 256 characters, and a token outside it is its own UTF-8", () => {
    expect(new Set(ALPHABET).size).toBe(256);
    expect(decodeUtf8(bytesOfToken("\u0120hi"))).toBe(" hi");
    expect(decodeUtf8(bytesOfToken("\u4e2d"))).toBe("\u4e2d");
  });

  it("replaces each maximal subpart, as Rust's from_utf8_lossy", () => {
    const shown = (...bytes: number[]) => decodeUtf8(Uint8Array.from(bytes));
    expect(shown(0xf0, 0x90, 0x41)).toBe("\ufffdA");
    expect(shown(0xed, 0xa0, 0x80)).toBe("\ufffd\ufffd\ufffd");
    expect(shown(0xc0, 0xaf)).toBe("\ufffd\ufffd");
    expect(shown(0xf4, 0x90, 0x80, 0x80)).toBe("\ufffd\ufffd\ufffd\ufffd");
    expect(shown(0xe2, 0x80, 0xe2, 0x80, 0x94)).toBe("\ufffd\u2014");
  });
});

const qwen3 = qwen3Directory();
describeIf(qwen3 !== undefined, QWEN3_ABSENT, "Qwen3's tokens", () => {
  it("stream to what decode gives, padding rows included", async () => {
    const tokenizer = await Tokenizer.fromDirectory(qwen3!);
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 151_935 }), { maxLength: 60 }),
        fc.boolean(),
        (ids, skip) => {
          expect(joined(tokenizer, ids, skip)).toBe(tokenizer.decode(ids, { skipSpecialTokens: skip }));
        },
      ),
      { numRuns: 500 },
    );
  });
});
