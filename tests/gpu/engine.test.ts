/**
 * The whole product on a real GPU, the first one: the contract with steps replayed and eager, ahead and one by one, two ranks on
 * one device, the golden models. Skipped where `lockstep doctor` sees none. The verbs' own suites run there with
 * LOCKSTEP_TEST_DEVICE=cuda:0 (scripts/gpu-check.sh does both).
 */
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { doctor, Engine, type LoadOptions } from "lockstep";
import { afterAll, beforeAll, expect, it } from "vitest";
import { chatCases, kDemoModel, randomCases } from "../contract/cases.js";
import { runContract } from "../contract/suite.js";
import { goldenDirectory, kCausalModels } from "../model/goldens.js";
import { kTinyVocab, writeTinyModel } from "../reliability/support.js";
import { describeIf, hasShared } from "../support/shared.js";
import { checkRunningRequest, checkUpdatesAndSleep } from "../weights/device-suite.js";
import { writeModel } from "../weights/support.js";

const kChild = fileURLToPath(new URL("../cuda-on-cpu/children/generate.mjs", import.meta.url));
const { cuda } = doctor();
const describeIfGpu = (name: string, body: () => void) => describeIf(cuda.available, "no GPU", name, body);

describeIfGpu("engines on a GPU", () => {
  let model: string;
  beforeAll(() => {
    model = writeTinyModel();
  });
  afterAll(() => rmSync(model, { recursive: true }));

  function generate(options: object, without = "") {
    const env = { ...process.env, NODE_OPTIONS: "", LOCKSTEP_CUDA_WITHOUT: without };
    const { status, stdout, stderr } = spawnSync(process.execPath, [kChild, model, JSON.stringify(options)], {
      encoding: "utf8",
      timeout: 60_000,
      env,
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const { computePath, results, score, embed, stepsAhead } = JSON.parse(stdout);
    expect(stepsAhead > 0).toBe(!without.includes("ahead"));
    return { computePath, results, score, embed };
  }

  it.each<[string, object, string]>([
    ["steps launched kernel by kernel", { device: "cuda:0" }, "graphs"],
    ["one kernel after the other", { device: "cuda:0" }, "graphs,overlap"],
    ["steps one after the other", { device: "cuda:0" }, "ahead"],
    ["all of that off", { device: "cuda:0" }, "ahead,graphs,overlap"],
    ["mma.sync alone", { device: "cuda:0" }, "wgmma"],
    ["two ranks on one device", { device: ["cuda:0", "cuda:0"], tensorParallel: 2 }, ""],
    ["two ranks, steps launched kernel by kernel", { device: ["cuda:0", "cuda:0"] }, "graphs,overlap"],
    ["chunks of 3", { device: "cuda:0", maxBatchTokens: 3 }, ""],
  ])("gives the same bits with %s", { timeout: 120_000 }, (_, options, without) => {
    const expected = generate({ device: "cuda:0" });
    expect(expected.computePath).toMatch(/^cuda-sm\d+$/);
    expect(generate(options, without)).toEqual(expected);
  });

  const devices: [string, LoadOptions][] = [
    ["one rank", { device: "cuda:0" }],
    ["two ranks", { device: ["cuda:0", "cuda:0"] }],
  ];
  it.each(devices)("keeps the contract with %s", { timeout: 300_000 }, async (_, load) => {
    const cases = randomCases(40, kTinyVocab, 40, 6);
    const { mismatches, preemptions } = await runContract({ Engine, model, computePath: "", cases, load });
    expect(mismatches).toEqual([]);
    expect(preemptions["tight pool"]).toBeGreaterThan(0);
  });

  it.each(devices)("has the bits of a fresh load after updates and sleep, with %s", async (_, load) => {
    const [first, second] = [writeModel(1), writeModel(2)];
    await checkUpdatesAndSleep(first, second, load);
    await checkRunningRequest(first, second, { ...load, kvCacheTokens: 8192, maxContext: 4096 }, 4000);
    for (const directory of [first, second]) rmSync(directory, { recursive: true });
  });

  it("gives the device back in sleep, but for 2 %", async () => {
    const smi = ["--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits", "--id=0"];
    const shareUsed = (): number => {
      const [used, total] = spawnSync("nvidia-smi", smi, { encoding: "utf8" }).stdout.split(",").map(Number);
      return used! / total!;
    };
    const before = shareUsed();
    const engine = await Engine.load(kDemoModel, { device: "cuda:0", memoryFraction: 0.5 });
    expect(shareUsed() - before).toBeGreaterThan(0.05);
    await engine.sleep();
    expect(shareUsed() - before).toBeLessThan(0.02);
    await engine.close();
  });

  it("keeps the contract on the demo checkpoint", { timeout: 300_000 }, async () => {
    const cases = [...(await chatCases(20, 8)), ...randomCases(30, 704, 600, 8)];
    const load: LoadOptions = { device: "cuda:0" };
    const { mismatches } = await runContract({ Engine, model: kDemoModel, computePath: "", cases, load });
    expect(mismatches).toEqual([]);
  });

  it.each(hasShared ? kCausalModels : [])("keeps the contract on %s", { timeout: 300_000 }, async (name) => {
    const cases = randomCases(24, name === "mha-odd-sizes" ? 1009 : 523, 200, 6);
    const load: LoadOptions = { device: "cuda:0" };
    const golden = goldenDirectory(name);
    const { mismatches } = await runContract({ Engine, model: golden, computePath: "", cases, load });
    expect(mismatches).toEqual([]);
  });
});
