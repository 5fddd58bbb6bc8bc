/** Ctrl-C during `lockstep generate`: what exists is kept, and the exit code says so. */
import type { ChildProcess } from "node:child_process";
import { expect, it, vi } from "vitest";
import type { Generation } from "../../src/index.js";
import { MODEL, runCli } from "./run-cli.js";

vi.setConfig({ testTimeout: 60_000 });

const ENDLESS = ["generate", MODEL, "Please switch off the bedroom light.", "--ignore-eos"];

const interruptOnce = (child: ChildProcess) => {
  if (!child.killed) child.kill("SIGINT");
};

it("keeps the text that was streamed", async () => {
  const full = await runCli(ENDLESS);
  const { code, stdout, stderr } = await runCli(ENDLESS, { onOutput: interruptOnce });
  expect({ code, stderr }).toEqual({ code: 130, stderr: "" });
  expect(stdout).toMatch(/\n$/);
  expect(stdout.length).toBeLessThan(full.stdout.length);
  expect(full.stdout.startsWith(stdout.slice(0, -1))).toBe(true);
});

it("writes what exists as JSON, with finishReason abort", async () => {
  // Nothing tells from outside when the first tokens are there: the signal comes later each time until it hits.
  for (let delayMs = 50; delayMs < 3000; delayMs += 50) {
    const { code, stdout } = await runCli([...ENDLESS, "--json"], {
      onStart: (child) => setTimeout(interruptOnce, delayMs, child),
    });
    if (stdout === "") continue; // not loaded yet
    const result = JSON.parse(stdout) as Generation;
    if (result.tokens.length === 0) continue;
    expect({ code, finishReason: result.finishReason }).toEqual({ code: 130, finishReason: "abort" });
    expect(result.usage.completionTokens).toBe(result.tokens.length);
    return;
  }
  expect.unreachable("no signal arrived while it was generating");
});

it("ends at once when interrupted twice", async () => {
  const { code } = await runCli(ENDLESS, {
    onOutput: (child) => {
      child.kill("SIGINT");
      child.kill("SIGINT");
    },
  });
  expect([130, null]).toContain(code);
});
