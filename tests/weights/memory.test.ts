/** An update and a wake() that there is no memory for: in a Node of its own, whose address space is limited meanwhile. */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { describeIf } from "../support/shared.js";
import { writeLargeModel } from "./support.js";

const kChild = fileURLToPath(new URL("./children/no-memory.mjs", import.meta.url));

describeIf(existsSync("/usr/bin/prlimit"), "there is no prlimit", "no memory", () => {
  it("leaves the old weights serving, or the engine asleep", () => {
    const shape = { hidden: 64, vocab: 200_000, tied: true }; // 26 MB
    const models = [writeLargeModel(1, shape), writeLargeModel(2, shape)];
    const { status, stdout, stderr } = spawnSync(process.execPath, [kChild, ...models], {
      encoding: "utf8",
      timeout: 60_000,
      env: { ...process.env, NODE_OPTIONS: "" },
    });
    for (const model of models) rmSync(model, { recursive: true });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const noMemory = expect.stringMatching(
      /^OUT_OF_MEMORY: Cannot reserve \d+ bytes: Cannot allocate memory/,
    );
    expect(JSON.parse(stdout)).toEqual({
      ...{ update: noMemory, wake: noMemory },
      ...{ weightVersion: 0, asleep: true, same: true },
    });
  });
});
