/**
 * Owns the few facts about Unicode text that the tokenizer needs: lone surrogates, incomplete UTF-8, and
 * byte-level BPE's alphabet. Any thread, no state. Must not know about vocabularies.
 */
import { LockstepError } from "../errors.js";

/** Refuses what has no UTF-8 form: a half of a surrogate pair on its own. */
export function requireWellFormed(text: string, where: string): void {
  if (text.isWellFormed()) return;
  const at = text.search(/\p{Surrogate}/u);
  const unit = text.charCodeAt(at).toString(16).toUpperCase();
  throw new LockstepError(
    "INVALID_ARGUMENT",
    `Expected well-formed text for ${where} but it has a lone surrogate (U+${unit}) at index ${at}`,
  );
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Invalid bytes become U+FFFD, one per maximal subpart, as in Rust's from_utf8_lossy. A BOM is a character. */
export function decodeUtf8(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

/**
 * How many bytes at the end (0 to 3) are the beginning of a character whose rest may still come.
 * Bytes that no continuation can make valid are not counted: they are U+FFFD at once.
 */
export function incompleteTail(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; ++back) {
    const lead = bytes[bytes.length - back]!;
    if (lead < 0x80) return 0;
    if (lead < 0xc0) continue; // a continuation byte: its lead byte is further back
    const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (back >= length) return 0;
    if (back >= 2) {
      // No overlong forms, no surrogates, nothing above U+10FFFF.
      const second = bytes[bytes.length - back + 1]!;
      const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
      const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
      if (second < low || second > high) return 0;
    }
    return back;
  }
  return 0;
}

/** GPT-2's alphabet: every byte has a printable character. Printable bytes stand for themselves, others for U+0100 on. */
const BYTE_OF_CHARACTER: ReadonlyMap<string, number> = (() => {
  const map = new Map<string, number>();
  let extra = 0x100;
  for (let byte = 0; byte < 256; ++byte) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    map.set(String.fromCharCode(printable ? byte : extra++), byte);
  }
  return map;
})();

/** That alphabet, in no order. */
export const BYTE_CHARACTERS: readonly string[] = [...BYTE_OF_CHARACTER.keys()];

/** The bytes of a token as the ByteLevel decoder reads it; a token outside the alphabet is its own UTF-8. */
export function bytesOfToken(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; ++i) {
    const byte = BYTE_OF_CHARACTER.get(token[i]!);
    if (byte === undefined) return new TextEncoder().encode(token);
    bytes[i] = byte;
  }
  return bytes;
}
