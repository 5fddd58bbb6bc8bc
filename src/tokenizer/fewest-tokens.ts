/**
 * Owns how few tokens a text can have, from its length alone: so that one that can never fit is refused before minutes of
 * encoding. Any thread, no state. Must not promise more than encode() keeps, whatever the tokenizer's files say.
 */
import type { TokenizerFiles } from "./files.js";
import { BYTE_CHARACTERS } from "./text.js";

/** NFC makes at most three UTF-16 units (u and two marks) into two bytes of UTF-8 (ǖ); a test goes through all of them. */
const UNITS_PER_BYTE = 1.5;

/** The most UTF-16 units of text that one token can stand for; Infinity where text may vanish. */
export function longestText({ json, ids, addedTokens }: TokenizerFiles): number {
  const keepsAll =
    isType(json.normalizer ?? { type: "NFC" }, "NFC") &&
    splitsIntoBytes(json.pre_tokenizer) &&
    BYTE_CHARACTERS.every((character) => ids.has(character)) &&
    !(json.added_tokens as Json[]).some(({ lstrip, rstrip }) => lstrip || rstrip);
  if (!keepsAll) return Number.POSITIVE_INFINITY;
  let bytes = 1;
  for (const token of ids.keys()) bytes = Math.max(bytes, token.length); // a character is a byte
  for (const { content } of addedTokens) bytes = Math.max(bytes, Buffer.byteLength(content));
  return UNITS_PER_BYTE * bytes;
}

type Json = Record<string, unknown>;

const isType = (value: unknown, type: string): boolean => (value as Json | null)?.type === type;

/** Qwen3's: splits that drop nothing, then bytes. */
function splitsIntoBytes(preTokenizer: unknown): boolean {
  if (isType(preTokenizer, "ByteLevel")) return true;
  const steps = isType(preTokenizer, "Sequence") ? (preTokenizer as Json).pretokenizers : undefined;
  if (!Array.isArray(steps)) return false;
  const isSplit = (step: Json): boolean =>
    isType(step, "Split") &&
    typeof (step.pattern as Json | undefined)?.Regex === "string" &&
    step.behavior === "Isolated" &&
    !step.invert;
  return steps.slice(0, -1).every(isSplit) && isType(steps.at(-1), "ByteLevel");
}
