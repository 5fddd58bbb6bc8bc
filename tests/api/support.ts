/** The demo checkpoint with some of its files replaced or left out: what the API tests load. */
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kDemoModel } from "../engine/support.js";

export { kDemoModel, kEndless, kTokens } from "../engine/support.js";

const made: string[] = [];

/** A directory of links to the demo's files; `files` replaces some by JSON, undefined leaves one out. */
export function variant(files: Record<string, object | undefined>): string {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-variant-"));
  made.push(directory);
  for (const name of readdirSync(kDemoModel))
    if (!(name in files)) symlinkSync(join(kDemoModel, name), join(directory, name));
  for (const [name, content] of Object.entries(files))
    if (content !== undefined) writeFileSync(join(directory, name), JSON.stringify(content));
  return directory;
}

export const kNoTokenizer = { "tokenizer.json": undefined, "tokenizer_config.json": undefined };

export function removeVariants(): void {
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true });
}
