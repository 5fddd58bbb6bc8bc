/** weights(): what is served, tensor by tensor, with checksums that anybody can make. */
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import type { LoadOptions } from "lockstep";
import { afterAll, describe, expect, it } from "vitest";
import { withEngine } from "../reliability/support.js";
import { asBF16, bitsOf, kLoad, readTensors, writeModel } from "./support.js";

const first = writeModel(1);
const second = writeModel(2);
const tied = writeModel(1, { tied: true });
afterAll(() => {
  for (const directory of [first, second, tied]) rmSync(directory, { recursive: true });
});

/** What weights() must say of a checkpoint's file. */
const described = (directory: string) =>
  [...readTensors(directory)].map(([name, { shape, values }]) => {
    const checksum = createHash("sha256").update(bitsOf(values)).digest("hex").slice(0, 16);
    return { name, shape, dtype: "BF16", checksum };
  });
const byName = (list: { name: string }[]) => [...list].sort((a, b) => (a.name < b.name ? -1 : 1));

describe("weights()", () => {
  it.each<[string, string, LoadOptions]>([
    ["mapped", first, {}],
    ["copied", first, { weights: "copy" }],
    ["over two ranks", first, { tensorParallel: 2 }],
    ["of a tied model", tied, {}],
  ])("lists what the file holds: %s", async (_, directory, options) => {
    await withEngine(directory, { ...kLoad, ...options }, async (engine) => {
      const list = await engine.weights();
      expect(byName(list)).toEqual(byName(described(directory)));
      expect(list[0]!.name).toBe("model.embed_tokens.weight"); // in the order of use
    });
  });

  it("and after updates, from wherever; equal content has equal checksums", async () => {
    await withEngine(first, kLoad, async (engine) => {
      await engine.updateWeights(new Map([...readTensors(second)].map(([name, t]) => [name, asBF16(t)])));
      const fromTensors = await engine.weights();
      expect(byName(fromTensors)).toEqual(byName(described(second)));
      await engine.updateWeights(second);
      expect(await engine.weights()).toEqual(fromTensors);
    });
  });

  it("reads one back, as a copy, while requests run", async () => {
    await withEngine(first, kLoad, async (engine) => {
      const running = engine.generate({ tokens: [1] }, { maxTokens: 200, ignoreEos: true, seed: 1 });
      const listed = described(first);
      for (const [i, [name, { values }]] of [...readTensors(first)].entries()) {
        const { data, ...info } = await engine.weights(name);
        expect(info).toEqual(listed[i]);
        expect(data).toEqual(bitsOf(values));
        data.fill(0);
      }
      expect((await running).weightVersions).toEqual([{ version: 0, from: 0, to: 200 }]);
      expect(byName(await engine.weights())).toEqual(byName(listed));
    });
  });

  it.each(["lm_head", "", 3, null])("refuses the name %j", async (name) => {
    await withEngine(tied, kLoad, async (engine) => {
      await expect(engine.weights(name as string)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/^Expected the name of a tensor, as weights\(\) lists them, for name/),
      });
    });
  });
});
