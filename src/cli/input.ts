/** Owns reading a whole text from standard input. Main thread. */
import { buffer } from "node:stream/consumers";

/** Standard input as UTF-8, less one newline at its end: files and `echo` end in one that nobody meant. */
export async function readStandardInput(): Promise<string> {
  const bytes = await buffer(process.stdin);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Error("Expected UTF-8 on standard input");
  }
  return text.replace(/\r?\n$/, "");
}
