/**
 * The whole product on two CUDA devices that are played: device options, tensor parallelism on one device and on two, the
 * contract, memory, and errors that spoil a device (RELIABILITY R16). Built by `node scripts/cuda-on-cpu.mjs`.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { doctor, Engine, type LoadOptions, LockstepError, measureFloors } from "lockstep";
import { afterAll, beforeAll, expect, it } from "vitest";
import { kDemoModel, randomCases } from "../contract/cases.js";
import { runContract } from "../contract/suite.js";
import { writeRandomCheckpoint } from "../model/random-checkpoint.js";
import { kTinyVocab, writeTinyModel } from "../reliability/support.js";
import { describeIfPlayed, kLibrary } from "./library.js";

const kLoadChild = fileURLToPath(new URL("./children/load.mjs", import.meta.url));
const kChild = fileURLToPath(new URL("./children/generate.mjs", import.meta.url));

describeIfPlayed("engines on played devices", () => {
  let model: string;
  let expected: ReturnType<typeof generate>;
  // Not in the suite's body, which runs where the suite is skipped, too.
  beforeAll(() => {
    process.env.LOCKSTEP_CUDA_LIBRARY = kLibrary; // before the first engine asks
    process.env.LOCKSTEP_CUDA_ON_CPU = "late"; // for the engines of this process: as asynchronous as a GPU
    model = writeTinyModel();
    expected = generate({ device: "cuda" });
  });
  afterAll(() => rmSync(model, { recursive: true }));

  /** `schedule`: see fibers.h. */
  function generate(options: object, schedule = "", without = "") {
    const env = {
      ...process.env,
      NODE_OPTIONS: "",
      LOCKSTEP_CUDA_ON_CPU: schedule,
      LOCKSTEP_CUDA_WITHOUT: without,
    };
    const run = spawnSync(process.execPath, [kChild, model, JSON.stringify(options)], {
      encoding: "utf8",
      timeout: 60_000,
      env,
    });
    expect({ status: run.status, signal: run.signal, stderr: run.stderr }).toEqual({
      status: 0,
      signal: null,
      stderr: "",
    });
    return JSON.parse(run.stdout);
  }

  it("runs where device says, and auto takes the first one", () => {
    expect(expected).toMatchObject({ computePath: "cuda-sm999", auto: "cuda-sm999" });
    expect(expected.embed.map(Object.keys).map(({ length }: string[]) => length)).toEqual([32, 32, 32, 32]);
    expect(expected.results.map(({ tokens }: { tokens: number[] }) => tokens.length)).toEqual([
      12, 12, 12, 12,
    ]);
    expect(expected.cuda.devices).toHaveLength(2);
    expect(generate({ device: "cpu" }).computePath).not.toContain("cuda");
  });

  it.each([
    ["", /^cuda:1 +CUDA on the CPU, sm_999, 0\.3 GiB; peer access: cuda:0 yes$/m],
    [
      "no-peers",
      /^cuda:1 .*; peer access: cuda:0 no \(tensor parallelism there goes through host memory\)$/m,
    ],
  ])("is described by doctor (%j)", (schedule, line) => {
    const cli = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
    const env = { ...process.env, LOCKSTEP_CUDA_ON_CPU: schedule };
    const { stdout } = spawnSync(process.execPath, [cli, "doctor"], { encoding: "utf8", env });
    expect(stdout).toMatch(/^cuda +2 devices$/m);
    expect(stdout).toMatch(line);
  });

  it.each([
    ["two ranks on one device", { device: ["cuda:0", "cuda:0"], tensorParallel: 2 }, ""],
    ["two ranks on two devices", { device: ["cuda:0", "cuda:1"] }, ""],
    ["without peer access", { device: "cuda", tensorParallel: 2 }, "no-peers,random:5"],
    ["blocks and threads the other way round", { device: ["cuda:1", "cuda:0"] }, "reverse"],
    ["chunks of 3", { device: "cuda:1", maxBatchTokens: 3 }, "random:6"],
    ["a driver that cannot capture", { device: "cuda" }, "no-graphs"],
    ["streams that run late", { device: "cuda" }, "late"],
    ["two late devices", { device: ["cuda:0", "cuda:1"] }, "late,random:7"],
  ])("gives the same bits with %s", { timeout: 60_000 }, (_, options, schedule) => {
    const pick = ({ computePath, results, score, embed }: typeof expected) => ({
      ...{ computePath, results, score, embed },
    });
    expect(pick(generate(options, schedule))).toEqual(pick(expected));
  });

  it("launches steps before it has the results of the one before, on one device", () => {
    // 13 decode steps, with a prompt that is admitted late and a score among them.
    expect(expected.stepsAhead).toBeGreaterThan(8);
    const { results, score, stepsAhead } = generate({ device: "cuda" }, "late", "ahead");
    expect({ results, score, stepsAhead }).toEqual({
      results: expected.results,
      score: expected.score,
      stepsAhead: 0,
    });
    expect(generate({ device: ["cuda:0", "cuda:1"] }).stepsAhead).toBe(0);
    expect(generate({ device: ["cuda:0", "cuda:0"] }, "late").stepsAhead).toBeGreaterThan(8);
  });

  it("samples more rows in a step than the head takes at once, ahead", async () => {
    const prompts = Array.from({ length: 70 }, (_, i) => ({ tokens: [i % kTinyVocab] }));
    const sampling = { maxTokens: 4, ignoreEos: true, seed: 2, topK: 9, logprobs: true, topLogprobs: 1 };
    const run = async (maxSequences: number) => {
      const engine = await Engine.load(model, { device: "cuda", maxSequences, kvCacheTokens: 4096 });
      const generations = await engine.generate(prompts, sampling);
      const { maxBatch, stepsAhead } = engine.stats();
      await engine.close();
      const results = generations.map(({ tokens, logprobs, topLogprobs }) => [tokens, logprobs, topLogprobs]);
      return { results, maxBatch, stepsAhead };
    };
    const [together, apart] = [await run(70), await run(30)];
    expect(together.results).toEqual(apart.results);
    expect(together.maxBatch).toBeGreaterThan(64);
    expect(together.stepsAhead).toBeGreaterThan(0);
  });

  it.each<[string, object]>([
    ["one device", { device: "cuda" }],
    ["two devices", { device: ["cuda:0", "cuda:1"] }],
  ])("replays decode steps as graphs on %s", (_, options) => {
    const launched = (without: string) => {
      const env = { ...process.env, LOCKSTEP_CUDA_ON_CPU: "report", LOCKSTEP_CUDA_WITHOUT: without };
      const run = spawnSync(process.execPath, [kChild, model, JSON.stringify(options)], {
        encoding: "utf8",
        env,
      });
      return Number(/^graphs launched: (\d+)$/m.exec(run.stderr)?.[1]);
    };
    // Of some 14 steps of the child: a step is launched when it comes first, and captured when it comes again.
    expect(launched("")).toBeGreaterThan(5);
    expect(launched("graphs")).toBe(0);
  });

  it.each<[string, LoadOptions]>([
    ["one device", { device: "cuda:0" }],
    ["two ranks on two", { device: ["cuda:0", "cuda:1"] }],
  ])("keeps the contract on %s", { timeout: 300_000 }, async (_, load) => {
    const cases = randomCases(6, kTinyVocab, 40, 4);
    const { mismatches, preemptions } = await runContract({ Engine, model, computePath: "", cases, load });
    expect(mismatches).toEqual([]);
    expect(preemptions["tight pool"]).toBeGreaterThan(0);
  });

  it("sizes the KV cache by memoryFraction, and says what is missing", async () => {
    const blocks = async (memoryFraction: number) => {
      const engine = await Engine.load(model, { device: "cuda", memoryFraction, maxSequences: 2 });
      const { blocks, deviceBytes } = engine.stats();
      await engine.close();
      const [device] = doctor().cuda.devices;
      expect(deviceBytes / device!.totalBytes).toBeCloseTo(memoryFraction, 3); // nothing else is on it
      return blocks.free;
    };
    const [half, most] = [await blocks(0.5), await blocks(0.9)];
    expect(half).toBeGreaterThan(1000);
    expect(most).toBeGreaterThan(1.5 * half);
    const tooLittle = await Engine.load(model, { device: "cuda", memoryFraction: 1e-6 }).catch((e) => e);
    expect(tooLittle).toBeInstanceOf(LockstepError);
    expect(tooLittle).toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(
        /^The weights take \d+ bytes .* of the \d+ bytes that were free is \d+, of which 0 are in use: raise memoryFraction/,
      ),
    });
    const tooMuch = await Engine.load(model, { device: "cuda", kvCacheTokens: 2 ** 30 }).catch((e) => e);
    expect(tooMuch).toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(
        /^A KV cache of 1073741824 tokens takes \d+ bytes of cuda-sm999, but \d+ are free .*: lower kvCacheTokens/,
      ),
    });
    const long = writeTinyModel(2 ** 14);
    const tooManyRows = await Engine.load(long, { device: "cuda", maxSequences: 65_536 }).catch((e) => e);
    rmSync(long, { recursive: true });
    expect(tooManyRows).toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(
        /^Workspaces: Cannot reserve \d+ bytes: \d+ of the device's 268435456 bytes are free: .*maxSequences/,
      ),
    });
    expect(await blocks(0.5)).toBe(half); // what failed has given everything back
  });

  /** See load.mjs. */
  function load(options: object, schedule = "") {
    const env = { ...process.env, NODE_OPTIONS: "", LOCKSTEP_CUDA_ON_CPU: schedule };
    const args = [kLoadChild, model, JSON.stringify(options)];
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 60_000, env });
    expect(stderr).toBe("");
    return JSON.parse(stdout) as {
      errors: { code: string; message: string }[];
      blocks: object;
      share: number;
    };
  }

  it.each([
    ["peer memory", ""],
    ["host memory", "no-peers"],
  ])("counts what two devices exchange sums through: %s", (_, schedule) => {
    const options = { device: ["cuda:0", "cuda:1"], maxBatchTokens: 4096, maxSequences: 4 };
    expect(load(options, schedule).share).toBeCloseTo(0.7, 3);
  });

  const refusals = [
    /^The weights: Cannot reserve \d+ bytes: \d+ of the device's \d+ bytes are free: free memory there, or /,
    /^The weights: Cannot reserve \d+ bytes of pinned host memory: /,
    /^Workspaces: .* bytes are free: free memory there, or lower maxBatchTokens, maxSequences or maxContext$/,
    /^The KV cache of \d+ tokens: .* bytes are free: free memory there, or lower kvCacheTokens or memoryFraction$/,
  ];
  const sums =
    /^The buffers through which devices exchange sums: .*: free memory there, or lower maxBatchTokens$/;
  it.each<[string, string | string[], RegExp[]]>([
    ["one device", "cuda:0", refusals],
    ["two devices", ["cuda:0", "cuda:1"], [...refusals, sums]],
  ])(
    "says what is missing, and leaks nothing, where any allocation of a load on %s fails",
    (_, device, kinds) => {
      const options = { device, maxBatchTokens: 24, maxSequences: 4 };
      const { errors, ...rest } = load(options, "short-of-memory");
      expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(["OUT_OF_MEMORY"]));
      for (const kind of kinds) expect(errors.filter(({ message }) => kind.test(message))).not.toEqual([]);
      expect(load(options)).toEqual({ errors: [], ...rest });
    },
  );

  it("gives everything back where a load is aborted", async () => {
    const free = async () => {
      const engine = await Engine.load(kDemoModel, { device: "cuda" });
      const { blocks } = engine.stats();
      await engine.close();
      return blocks.free;
    };
    const before = await free();
    for (const ms of [0, 1, 2, 4, 8, 16]) {
      const controller = new AbortController();
      const onProgress = ({ phase }: { phase: string }) => {
        if (phase === "weights") setTimeout(() => controller.abort("enough"), ms);
      };
      const loading = Engine.load(kDemoModel, { device: "cuda", signal: controller.signal, onProgress });
      const end = await loading.then((engine) => engine.close(), String);
      expect([undefined, "enough"]).toContain(end); // the last ones may be through before
    }
    await expect.poll(free, { timeout: 10_000 }).toBe(before); // an aborted load ends behind its promise
  });

  it("counts an embedding that is the head, too, once", async () => {
    const named = async (tied: boolean) => {
      const directory = mkdtempSync(join(tmpdir(), "lockstep-tied-"));
      const sizes = {
        layers: 1,
        hidden: 32,
        heads: 2,
        kvHeads: 2,
        headDim: 16,
        mlp: 32,
        context: 64,
        vocab: 512,
      };
      writeRandomCheckpoint(directory, { ...sizes, tied });
      const error = await Engine.load(directory, { device: "cuda", memoryFraction: 1e-6 }).catch((e) => e);
      rmSync(directory, { recursive: true });
      return Number(/The weights take (\d+) bytes/.exec(error.message)?.[1]);
    };
    expect((await named(false)) - (await named(true))).toBe(512 * 32 * 2);
  });

  it.each([
    [{ device: "cuda", tensorParallel: 3 }, "NOT_SUPPORTED", /received cuda:2: this process sees 2/],
    [{ device: ["cuda:0"], tensorParallel: 2 }, "INVALID_ARGUMENT", /Expected 2 devices, one a rank/],
    [{ device: ["cuda:0", "cuda:7"] }, "NOT_SUPPORTED", /received cuda:7: this process sees 2/],
    [{ device: ["cuda:0", "gpu"] }, "INVALID_ARGUMENT", /for device\[1\] but received 'gpu'/],
    [{ device: [] }, "INVALID_ARGUMENT", /an array of such names/],
    [{ device: "cuda0" }, "INVALID_ARGUMENT", /Expected 'auto' or 'cpu' or 'cuda'/],
  ])("refuses %o", async (options, code, message) => {
    const error = await Engine.load(model, options as object).catch((e) => e);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  const kIllegal = /^CUDA: \w+.*: an illegal memory access was encountered$/;
  const kEcc = /^CUDA: \w+.*: uncorrectable ECC error encountered$/;
  const kLaunch = /^CUDA: \w+: too many resources requested for launch$/;
  const kMemory = /^CUDA: \w+: out of memory$/;
  it.each<[string, object, string, string, RegExp]>([
    ["an illegal address in the first step", { device: "cuda" }, "0", "ENGINE_FAILED", kIllegal],
    ["one later", { device: "cuda" }, "90", "ENGINE_FAILED", kIllegal],
    ["one on one of two devices", { device: ["cuda:0", "cuda:1"] }, "151", "ENGINE_FAILED", kIllegal],
    ["one with two steps in flight", { device: "cuda" }, "190,late", "ENGINE_FAILED", kIllegal],
    ["an ECC error", { device: "cuda" }, "40:214", "ENGINE_FAILED", kEcc],
    ["a launch that fails", { device: "cuda" }, "40:701", "ENGINE_FAILED", kLaunch],
    ["no memory in a step", { device: "cuda" }, "90:2", "OUT_OF_MEMORY", kMemory],
  ])("fails once, for good, and the process lives: %s", (_, options, launch, code, cause) => {
    const { results, score, again, failure, blocks, cuda, later, auto, fresh } = generate(
      options,
      `fail:${launch}`,
    );
    expect(failure).toEqual({ code, message: expect.stringMatching(cause) });
    for (const refusal of [...results, score, again])
      expect(refusal).toEqual({ code: "ENGINE_FAILED", message: failure.message });
    expect(blocks).toMatchObject({ cached: 0, owned: 0 });
    expect(fresh).toBe("cuda-sm999");
    if (cause === kIllegal || cause === kEcc) {
      expect(cuda).toMatchObject({ available: false, reason: expect.stringContaining(failure.message) });
      expect(later).toMatchObject({
        code: "NOT_SUPPORTED",
        message: expect.stringContaining(failure.message),
      });
      expect(auto).not.toContain("cuda"); // and the CPU still works
    } else {
      expect([cuda.available, later, auto]).toEqual([true, undefined, "cuda-sm999"]); // the device is as good as before
    }
  });

  it("names the layer and the position of NaN, and goes on", { timeout: 60_000 }, async () => {
    const poisoned = writeTinyModel(64, (tensors) => {
      tensors.get("model.layers.1.mlp.down_proj.weight")!.values[0] = Number.NaN;
    });
    for (const tensorParallel of [1, 2]) {
      const engine = await Engine.load(poisoned, {
        device: "cuda",
        tensorParallel,
        kvCacheTokens: 64,
        debug: true,
      });
      for (let i = 0; i < 2; ++i) {
        const error = await engine.generate({ tokens: [1, 2, 3] }, { maxTokens: 2 }).catch((e) => e);
        expect(error).toMatchObject({
          code: "NON_FINITE_LOGITS",
          message: expect.stringMatching(
            / at position 2 .*; first in the MLP of model\.layers\.1, at position 0$/,
          ),
        });
      }
      expect(engine.stats().failure).toBeUndefined();
      await engine.close();
    }
    rmSync(poisoned, { recursive: true });
  });

  it.each<[string, LoadOptions]>([
    ["one device", { device: "cuda:0" }],
    ["two ranks on one", { device: ["cuda:0", "cuda:0"] }],
    ["two devices", { device: ["cuda:0", "cuda:1"] }],
  ])("profiles every launch of every step on %s, and changes no bit", async (_, options) => {
    const small = { kvCacheTokens: 64, maxBatchTokens: 2 }; // a step without logits, too
    const run = async (profile: boolean, debug: boolean) => {
      const engine = await Engine.load(model, { ...options, ...small, profile, debug });
      const sampling = { maxTokens: 4, ignoreEos: true, seed: 1, logprobs: true };
      const { tokens, logprobs } = await engine.generate({ tokens: [1, 2, 3] }, sampling);
      const told = profile ? engine.profile() : undefined;
      await engine.close();
      return { told, result: { tokens, logprobs } };
    };
    const [profiled, plain] = [await run(true, false), await run(false, true)];
    expect(profiled.result).toEqual(plain.result);
    const { steps, kernels } = profiled.told!;
    expect(steps).toBe(5);
    const ranks = options.device!.length === 2 && new Set(options.device).size === 1 ? 2 : 1; // of the first device
    const share = options.device!.length === 2 ? 2 : 1;
    const counts = Object.fromEntries(kernels.map(({ name, calls, flops }) => [name, { calls, flops }]));
    expect(counts).toMatchObject({
      [`linear_gate_up ${96 / share}x32`]: {
        calls: 2 * 5 * ranks,
        flops: 2 * 2 * 6 * 96 * 32 * (ranks / share),
      },
      rms_norm: { calls: 5 * 5 },
      copy_rows: { calls: 5 + 4 },
      attention: { calls: 2 * 5 * ranks },
    });
    for (const { seconds } of kernels) expect(seconds).toBeGreaterThan(0);
  });

  it("measures the ceilings of a device", async () => {
    const floors = await measureFloors({ device: "cuda:1", bufferBytes: 2 ** 20 });
    expect(floors).toMatchObject({
      device: "cuda:1",
      computePath: "cuda-sm999",
      threads: 0,
      bufferBytes: 2 ** 20,
    });
    for (const rate of [floors.readBytesPerSecond, floors.copyBytesPerSecond, floors.flopsPerSecond])
      expect(rate).toBeGreaterThan(0);
    await expect(measureFloors({ device: "cuda:2" })).rejects.toThrow(/cuda:2: this process sees 2/);
    const tooMuch = await measureFloors({ device: "cuda:0", bufferBytes: 2 ** 33 }).catch((error) => error);
    expect(tooMuch).toMatchObject({ code: "OUT_OF_MEMORY" });
  });

  it("benches on a device beside its own ceilings", { timeout: 60_000 }, () => {
    const cli = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
    const sizes = "--prefill 4 --decode 2 --context 4 --tokens 2 --rounds 1".split(" ");
    const args = [cli, "bench", model, "--device", "cuda:1", "--profile", "--json", ...sizes];
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", env: process.env });
    expect(stderr).toBe("");
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map(({ kind, profile }) => [kind, profile?.steps > 0])).toEqual([
      ["prefill", false],
      ["decode", false],
      ["prefill", true],
      ["decode", true],
    ]);
    for (const line of lines) {
      expect(line).toMatchObject({ device: "cuda:1", computePath: "cuda-sm999", threads: 0 });
      expect(line.machine.gpu).toBe("CUDA on the CPU");
      expect(line.floors.copyBytesPerSecond).toBeGreaterThan(0);
    }
    const names = lines[3].profile.kernels.map(({ name }: { name: string }) => name);
    expect(names).toEqual(expect.arrayContaining(["linear_gate_up 96x32", "attention", "chunk_stats"]));
  });
});
