/** The native test entry for a whole forward pass (native/testing/model_entries.cpp), and what the tests ask of it. */
import { createRequire } from "node:module";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { nativeSpec } from "../../src/load.js";
import type { NativeEngineSpec } from "../../src/native.js";

export interface NativeOutput {
  logits: Float32Array; // [T, V]
  hidden: Uint16Array; // [T, D], BF16 bits
}

interface TestModel {
  /** At most `chunk` tokens a step. */
  forward(tokens: Int32Array, chunk: number): NativeOutput;
}

interface TestingAddon {
  TestModel: new (spec: NativeEngineSpec) => TestModel;
  cpuPaths(): string[];
}

const kMaxTokens = 1024;

let addon: TestingAddon | undefined;

export function testingAddon(): TestingAddon {
  addon ??= createRequire(import.meta.url)(
    process.env.LOCKSTEP_TESTING_ADDON ?? "../../build/Release/lockstep-testing.node",
  ) as TestingAddon;
  return addon;
}

export async function openNativeModel(
  directory: string,
  computePath: string,
  threads = 2,
  ranks = 1,
): Promise<TestModel> {
  const limits = {
    ranks,
    threads,
    numBlocks: kMaxTokens / 16,
    maxContext: kMaxTokens,
    devices: [],
    maxBatchTokens: kMaxTokens,
    maxSequences: 1,
    maxQueue: 1,
  };
  const spec = nativeSpec(await openCheckpoint(directory), limits, { prefixCache: false });
  return new (testingAddon().TestModel)({ ...spec, computePath });
}
