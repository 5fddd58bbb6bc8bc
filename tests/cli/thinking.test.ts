/** --no-thinking reaches the chat template, of `generate` and of `chat`. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import type { Generation } from "../../src/index.js";
import { MODEL, runCli } from "./run-cli.js";

vi.setConfig({ testTimeout: 60_000 });

/** The demo's model under a template that writes the switch out, to a prompt of another length each way. */
const TEMPLATE =
  "{{ messages[-1].content }}{% if enable_thinking is not defined %} think or not{% elif not enable_thinking %} do not{% endif %}";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "lockstep-thinking-"));
  cpSync(MODEL, directory, { recursive: true });
  writeFileSync(join(directory, "chat_template.jinja"), TEMPLATE);
});
afterAll(() => rmSync(directory, { recursive: true }));

async function promptTokens(args: string[], input?: string): Promise<number> {
  const { code, stdout } = await runCli([args[0]!, directory, ...args.slice(1), "-n", "1", "--json"], {
    input,
  });
  expect(code).toBe(0);
  return (JSON.parse(stdout) as Generation).usage.promptTokens;
}

it("is absent unless it is given, and then false", async () => {
  const [undefinedLength, falseLength] = await Promise.all(
    ["Hi think or not", "Hi do not"].map((text) => promptTokens(["generate", text])),
  );
  expect(undefinedLength).not.toBe(falseLength);
  expect(await promptTokens(["generate", "Hi", "--chat"])).toBe(undefinedLength);
  expect(await promptTokens(["generate", "Hi", "--chat", "--no-thinking"])).toBe(falseLength);
  expect(await promptTokens(["generate", "Hi", "--no-thinking"])).toBe(falseLength); // it implies --chat
  expect(await promptTokens(["chat"], "Hi\n")).toBe(undefinedLength);
  expect(await promptTokens(["chat", "--no-thinking"], "Hi\n")).toBe(falseLength);
});
