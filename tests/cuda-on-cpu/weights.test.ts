/** Weight updates, a look at them, sleep and wake on played CUDA devices (tests/weights has the rest, on the CPU). */
import { rmSync } from "node:fs";
import { Engine, type LoadOptions } from "lockstep";
import { afterAll, beforeAll, expect, it } from "vitest";
import { checkRunningRequest, checkUpdatesAndSleep, kSmall } from "../weights/device-suite.js";
import { writeModel } from "../weights/support.js";
import { describeIfPlayed, kLibrary } from "./library.js";

describeIfPlayed("weights on played devices", () => {
  let first: string;
  let second: string;
  beforeAll(() => {
    process.env.LOCKSTEP_CUDA_LIBRARY = kLibrary; // before the first engine asks
    process.env.LOCKSTEP_CUDA_ON_CPU = "late";
    [first, second] = [writeModel(1), writeModel(2)];
  });
  afterAll(() => {
    for (const directory of [first, second]) rmSync(directory, { recursive: true });
  });
  it.each<[string, LoadOptions]>([
    ["one device", { device: "cuda:0" }],
    ["two ranks on one", { device: ["cuda:0", "cuda:0"] }],
    ["two ranks on two", { device: ["cuda:0", "cuda:1"] }],
  ])("are those of a fresh load after updates and sleep: %s", { timeout: 120_000 }, async (_, load) => {
    await checkUpdatesAndSleep(first, second, load);
  });

  it("change under a running request", async () => {
    await checkRunningRequest(first, second, { device: "cuda:0" }, 200);
  });

  it("sleep leaves the device as it was, and wake() says where it has been taken", async () => {
    const blocks = async (memoryFraction: number) => {
      const { kvCacheTokens: _, ...rest } = kSmall;
      const engine = await Engine.load(first, { ...rest, device: "cuda:0", memoryFraction });
      return { engine, blocks: engine.stats().blocks.free };
    };
    const alone = await blocks(0.5);
    await alone.engine.sleep();
    const other = await blocks(0.9); // of all there is
    expect(other.blocks).toBeGreaterThan(1.7 * alone.blocks);
    await expect(alone.engine.wake()).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
    expect(alone.engine.stats()).toMatchObject({ asleep: true, deviceBytes: 0 });
    await other.engine.close();
    await alone.engine.wake();
    expect(alone.engine.stats().blocks.free).toBe(alone.blocks);
    expect(
      (await alone.engine.generate({ tokens: [1] }, { maxTokens: 3, ignoreEos: true })).tokens,
    ).toHaveLength(3);
    await alone.engine.close();
  });
});
