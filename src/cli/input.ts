/** Owns reading whole texts from standard input and from files. Main thread. */
import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";

/** Standard input as UTF-8, less one newline at its end: files and `echo` end in one that nobody meant. */
export async function readStandardInput(): Promise<string> {
  return textOf(await buffer(process.stdin), "on standard input");
}

/** A file, in the same way. */
export async function readFileText(path: string): Promise<string> {
  return textOf(await readFile(path), `in ${path}`);
}

function textOf(bytes: Uint8Array, where: string): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Error(`Expected UTF-8 ${where}`);
  }
  return text.replace(/\r?\n$/, "");
}
