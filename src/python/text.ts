/**
 * str methods whose sets of characters differ from JavaScript's: white space, line ends, words. Pure.
 *
 * JavaScript trims U+FEFF, which Python does not, and leaves U+001C to U+001F and U+0085, which Python strips.
 */

export const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const LEADING = new RegExp(`^[${SPACE}]+`);
// biome-ignore lint/suspicious/noControlCharactersInRegex: they end lines in Python
const LINE_END = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/;

/** text.strip() */
export function strip(text: string): string {
  const start = LEADING.exec(text)?.[0].length ?? 0;
  let end = text.length;
  while (end > start && isSpace(text[end - 1]!)) end--;
  return text.slice(start, end);
}

/** Whether a character is white space to str.strip() and str.isspace(). */
export function isSpace(character: string): boolean {
  return LEADING.test(character);
}

/** text.splitlines() */
export function splitLines(text: string): string[] {
  const lines = text.split(LINE_END);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** textwrap.indent(text, prefix): lines of white space alone stay as they are. */
export function indent(text: string, prefix: string): string {
  const lines = text.match(new RegExp(`[^]*?(?:${LINE_END.source})|[^]+$`, "g")) ?? [];
  return lines.map((line) => (strip(line) === "" ? line : prefix + line)).join("");
}

/** Python orders texts by code point, JavaScript by UTF-16 unit: they differ where a surrogate meets U+E000 to U+FFFF. */
export function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [left, right] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (left === right) continue;
    const [leftHigh, rightHigh] = [isSurrogate(left), isSurrogate(right)];
    return leftHigh === rightHigh ? left - right : leftHigh ? 1 : -1;
  }
  return a.length - b.length;
}

const isSurrogate = (unit: number) => unit >= 0xd800 && unit < 0xe000;
