/**
 * RELIABILITY R10 and R11: engines come and go, and the host process lives; it ends when it should, with the code it
 * should. Each case is a Node of its own. tests/engine has the same for one rank and the commoner ways.
 */
import { rmSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { type ChildOptions, kDemoModel, runChild, writeTinyModel } from "./support.js";

/** Usually some ten milliseconds; CI machines are busy. */
const kTimelyMs = 2_000;

const tiny = writeTinyModel();
afterAll(() => rmSync(tiny, { recursive: true }));

describe.skipIf(process.platform !== "linux")(
  "200 engines, one after the other",
  { timeout: 120_000 },
  () => {
    it.each(["closed", "closed while generating", "dropped"])("%s, leave nothing behind", async (way) => {
      const { code, stdout, stderr } = await runChild("cycles", {
        args: [tiny, way],
        nodeArgs: ["--expose-gc"],
        timeoutMs: 110_000,
      });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      const { before, after } = JSON.parse(stdout);
      console.log(`R10 ${way}: ${JSON.stringify({ before, after })}`);
      expect(after.threads).toBe(before.threads);
      expect(after.fds).toBe(before.fds);
      expect(after.jsMb - before.jsMb).toBeLessThan(2);
      expect(after.rssMb - before.rssMb).toBeLessThan(16); // an engine's pool and weights, kept 160 times, are more
    });
  },
);

async function endOf(way: string, options: ChildOptions = {}) {
  const { code, signal, stdout, stderr, msAfterGo } = await runChild("life", {
    args: [kDemoModel, way],
    ...options,
  });
  expect(stdout, stderr).toMatch(/^go$/m);
  expect(msAfterGo).toBeLessThan(kTimelyMs);
  return { code, signal, stdout, stderr };
}

describe("a process with two ranks", { timeout: 60_000 }, () => {
  it.each(["idle", "idle after work"])("ends by itself: %s", async (way) => {
    expect(await endOf(way)).toMatchObject({ code: 0, signal: null, stderr: "" });
  });

  it.each(["exit", "exit with a prompt under way", "close and exit at once"])(
    "ends at once: %s",
    async (way) => {
      for (let round = 0; round < 3; ++round)
        expect(await endOf(way)).toMatchObject({ code: 7, signal: null, stderr: "" });
    },
  );

  it("ends with an uncaught exception's code", async () => {
    const { code, signal, stderr } = await endOf("uncaught exception");
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toContain("a bug in somebody's program");
  });

  it.each(["SIGTERM", "SIGINT"] as const)("ends by %s, or does with it what it likes", async (kill) => {
    expect(await endOf("wait for a signal", { kill })).toMatchObject({
      code: null,
      signal: kill,
      stderr: "",
    });
    const closed = await endOf("wait for a signal, then close", { kill });
    expect(closed).toMatchObject({ code: 0, signal: null, stderr: "" });
    expect(closed.stdout).toContain(Array(8).fill("ENGINE_CLOSED").join(" "));
  });
});

describe("worker threads", { timeout: 120_000 }, () => {
  it.each([
    ["terminated", []],
    ["terminated", ["--expose-gc", "--gc-interval=500"]],
    ["side by side", []],
  ])("%s %s", async (way, nodeArgs) => {
    const { code, signal, stdout, stderr } = await runChild("workers", {
      args: [kDemoModel, way],
      nodeArgs,
      timeoutMs: 110_000,
    });
    expect({ code, signal, stdout, stderr }).toEqual({
      code: 0,
      signal: null,
      stdout: "60 tokens, the same\n",
      stderr: "",
    });
  });
});
