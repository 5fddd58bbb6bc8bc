/**
 * A checkpoint that is changed under the engine that has mapped it: the engine fails with a message that names the file,
 * and the process lives. Each case is a Node of its own: a SIGBUS that is not caught kills it.
 */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { kDemoModel, runChild } from "./support.js";

async function outcomes(when: string, what: string, weights: "map" | "copy" = "map") {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-files-"));
  try {
    cpSync(kDemoModel, directory, { recursive: true });
    const { code, signal, stdout, stderr } = await runChild("files", {
      args: [directory, when, what, weights],
    });
    expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: "" });
    return { ...JSON.parse(stdout), path: join(directory, "model.safetensors") };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

describe("a mapped checkpoint", { timeout: 60_000 }, () => {
  it.each([
    ["at work", "cut short"],
    ["at work", "emptied"],
    ["idle", "cut short"],
    ["idle", "emptied"],
    ["idle", "touched"],
    ["idle", "replaced"],
  ])("%s, %s: the engine fails, closes, and the process lives", async (when, what) => {
    const { first, second, path } = await outcomes(when, what);
    for (const failure of [first, second]) {
      expect(failure).toMatchObject({ name: "LockstepError", code: "ENGINE_FAILED" });
      expect(failure.message).toContain(`${path} changed while it was in use`);
    }
  });

  it("removed: the mapping keeps it as it was", async () => {
    expect(await outcomes("idle", "removed")).toMatchObject({ first: "20 tokens", second: "20 tokens" });
  });

  it("copied: it may be changed", async () => {
    expect(await outcomes("idle", "emptied", "copy")).toMatchObject({
      first: "20 tokens",
      second: "20 tokens",
    });
  });
});

it("a SIGBUS that is none of ours ends the process as ever", { timeout: 60_000 }, async () => {
  const { code, signal } = await runChild("life", {
    args: [kDemoModel, "wait for a signal"],
    kill: "SIGBUS",
  });
  expect({ code, signal }).toEqual({ code: null, signal: "SIGBUS" });
});
