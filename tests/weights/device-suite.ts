/** What weight updates, sleep and wake must do on devices of any kind: used by the played ones' tests and by the GPU's. */
import { createHash } from "node:crypto";
import { Engine, type LoadOptions } from "lockstep";
import { expect } from "vitest";
import { asBF16, bitsOf, readTensors, voice, voiceOf } from "./support.js";

export const kSmall = { maxBatchTokens: 64, maxSequences: 4, kvCacheTokens: 1024, maxContext: 256 };

const tensorsOf = (directory: string) =>
  new Map([...readTensors(directory)].map(([name, tensor]) => [name, asBF16(tensor)] as const));

const checksums = (directory: string) =>
  new Map(
    [...readTensors(directory)].map(([name, { values }]) => [
      name,
      createHash("sha256").update(bitsOf(values)).digest("hex").slice(0, 16),
    ]),
  );

/** Updates from files and from tensors, awake and asleep: always the bits of a fresh load, and no second copy on the device. */
export async function checkUpdatesAndSleep(first: string, second: string, load: LoadOptions): Promise<void> {
  const options = { ...kSmall, ...load };
  const [old, fresh] = [await voiceOf(first, options), await voiceOf(second, options)];
  const engine = await Engine.load(first, options);
  expect(await voice(engine)).toEqual(old);
  const { deviceBytes } = engine.stats(); // after a first step, which may allocate a little
  const expectServed = async (directory: string) => {
    expect(await voice(engine)).toEqual(directory === first ? old : fresh);
    const list = await engine.weights();
    expect(new Map(list.map(({ name, checksum }) => [name, checksum]))).toEqual(checksums(directory));
    expect(engine.stats().deviceBytes).toBe(deviceBytes); // no second copy
  };
  await expectServed(first);
  await engine.updateWeights(second);
  await expectServed(second);
  await engine.updateWeights(tensorsOf(first));
  await expectServed(first);
  await engine.sleep({ keep: ["weights"] });
  const kept = engine.stats().deviceBytes;
  expect(kept).toBeGreaterThan(0);
  expect(kept).toBeLessThan(deviceBytes / 2);
  await engine.updateWeights(tensorsOf(second)); // written over where they lie
  await engine.wake();
  await expectServed(second);
  await engine.sleep(); // a copy stays on the host
  expect(engine.stats().deviceBytes).toBe(0);
  await engine.wake();
  await expectServed(second);
  await engine.updateWeights(first);
  await engine.sleep();
  await engine.wake();
  await expectServed(first);
  await engine.close();
}

/** A running request goes on under the new weights, and through sleep. It must be long enough to see them come. */
export async function checkRunningRequest(
  first: string,
  second: string,
  load: LoadOptions,
  maxTokens: number,
): Promise<void> {
  const options = { ...kSmall, ...load };
  const engine = await Engine.load(first, options);
  const sampling = { maxTokens, ignoreEos: true, seed: 3, logprobs: true };
  const request = engine.generate({ tokens: [1, 2, 3] }, sampling);
  while (engine.stats().generatedTokens < 5) await new Promise(setImmediate);
  await engine.updateWeights(second, { mode: "continue" });
  await engine.sleep({ mode: "continue" });
  await engine.wake();
  const { tokens, logprobs, weightVersions } = await request;
  const { to } = weightVersions[0]!;
  expect(weightVersions).toEqual([
    { version: 0, from: 0, to },
    { version: 1, from: to, to: maxTokens },
  ]);
  const forcedTokens = tokens.slice(0, to);
  const again = await engine.generate({ tokens: [1, 2, 3] }, { ...sampling, forcedTokens });
  expect(again.tokens).toEqual(tokens);
  expect(again.logprobs!.slice(to)).toEqual(logprobs!.slice(to));
  await engine.close();
}
