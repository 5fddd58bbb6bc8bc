/**
 * The host process comes first: it ends when it should, with the code it should, and never by a signal; whatever the
 * engine is in the middle of. Each case is a process of its own. Limits are wide: two seconds where a few milliseconds
 * are usual.
 */
import { describe, expect, it } from "vitest";
import { runChild } from "./support.js";

const kTimelyMs = 2_000;

async function endOf(way: string) {
  const result = await runChild("lifetime", { args: [way] });
  expect(result.signal, result.stderr).toBe(null);
  expect(result.stdout, result.stderr).toMatch(/^go$/m);
  return result;
}

describe("a process with an idle engine ends by itself", () => {
  it.each([
    ["idle", ""],
    ["idle after work", "5 tokens"],
    ["idle after a long text", "prompt tokens"],
    ["closed", ""],
  ])("%s", async (way, printed) => {
    const { code, stdout, stderr, msAfterGo } = await endOf(way);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain(printed);
    expect(msAfterGo).toBeLessThan(kTimelyMs);
  });
});

it("a process waits for what is open", async () => {
  const { code, stdout } = await endOf("waits for the last token");
  expect({ code, last: stdout.trim().split("\n").at(-1) }).toEqual({ code: 0, last: "300 tokens" });
});

it("close() while generating settles everything and does not leave the await hanging", async () => {
  for (let round = 0; round < 5; ++round) {
    const { code, stdout, stderr } = await endOf("closed while generating");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain(Array(8).fill("ENGINE_CLOSED").join(" "));
  }
});

describe("a process ends in the middle of things, at once and with its own code", () => {
  it.each(["exit", "exit in a callback", "exit while loading", "exit while closing"])("%s", async (way) => {
    const { code, stderr, msAfterGo } = await endOf(way);
    expect({ code, stderr }).toEqual({ code: 7, stderr: "" });
    expect(msAfterGo).toBeLessThan(kTimelyMs);
  });

  it.each(["uncaught exception", "unhandled rejection"])("%s", async (way) => {
    const { code, stderr, msAfterGo } = await endOf(way);
    expect(code).toBe(1);
    expect(stderr).toContain("a bug in somebody's program");
    expect(msAfterGo).toBeLessThan(kTimelyMs);
  });
});

it("worker threads may be terminated while they generate", async () => {
  const { code, signal, stdout, stderr } = await runChild("worker", { timeoutMs: 60_000 });
  expect({ code, signal, stdout, stderr }).toEqual({
    code: 0,
    signal: null,
    stdout: "0 same tokens\n",
    stderr: "",
  });
});

it.skipIf(process.platform !== "linux")(
  "engines that nobody holds are collected, threads and all",
  async () => {
    const { code, stdout, stderr } = await runChild("collected", { nodeArgs: ["--expose-gc"] });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { before, most, after } = JSON.parse(stdout);
    expect(most).toBeGreaterThan(before);
    expect(after).toBe(before);
  },
);
