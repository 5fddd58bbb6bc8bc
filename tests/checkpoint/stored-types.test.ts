/**
 * F32 and F16 checkpoints, and `weights: "copy"`: the engine must compute what it computes from the same weights in
 * BF16. The demo checkpoint is rewritten in each type; the expected rounding is done here, in plain arithmetic.
 */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Engine } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const demo = fileURLToPath(new URL("../../examples/demo/model", import.meta.url));
const prompt = { tokens: [695, 82, 88, 274, 68, 76, 198, 340, 350, 266, 365, 297, 260, 368, 362, 13] };
const sampling = { temperature: 1, seed: 3, maxTokens: 24, logprobs: true, ignoreEos: true } as const;

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

/** The demo's weights through `convert` (float32 bits of a weight → its bytes), stored as `dtype`. */
async function rewrite(
  directory: string,
  dtype: string,
  bytesEach: number,
  convert: (view: DataView, at: number, value: number) => void,
): Promise<void> {
  await cp(demo, directory, { recursive: true });
  const file = await readFile(join(demo, "model.safetensors"));
  const headerLength = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerLength)) as Header;
  const data = file.subarray(8 + headerLength);
  const out = new Uint8Array((data.length / 2) * bytesEach);
  const view = new DataView(out.buffer);
  for (let i = 0; i < data.length / 2; ++i) convert(view, i * bytesEach, fromBf16(data.readUInt16LE(2 * i)));
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [begin, end] = entry.data_offsets;
    header[name] = { ...entry, dtype, data_offsets: [(begin / 2) * bytesEach, (end / 2) * bytesEach] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await writeFile(join(directory, "model.safetensors"), Buffer.concat([length, json, out]));
}

const scratch = new DataView(new ArrayBuffer(4));

function fromBf16(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

/** Nearest BF16, ties to even; finite values. */
function toBf16(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Nearest F16, ties to even, by arithmetic: round to a multiple of the spacing at this magnitude. */
function toF16(value: number): { value: number; bits: number } {
  const magnitude = Math.abs(value);
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude || 2 ** -24)));
  const spacing = 2 ** (exponent - 10);
  const quotient = magnitude / spacing;
  const floor = Math.floor(quotient);
  const up = quotient - floor > 0.5 || (quotient - floor === 0.5 && floor % 2 === 1);
  const steps = floor + (up ? 1 : 0);
  const sign = value < 0 || Object.is(value, -0) ? 1 : 0;
  // Below 2^-14 the steps are the bits; above, each exponent adds 1,024 of them.
  const bits = (sign << 15) | (exponent === -14 ? steps : ((exponent + 14) << 10) + steps);
  return { value: (sign ? -1 : 1) * steps * spacing, bits };
}

async function run(directory: string, options = {}): Promise<unknown> {
  await using engine = await Engine.load(directory, { threads: 1, ...options });
  const { tokens, logprobs } = await engine.generate(prompt, sampling);
  return { tokens, logprobs };
}

describe("weights as they are stored", () => {
  let root: string;
  let expected: unknown;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "lockstep-types-"));
    expected = await run(demo);
  });
  afterAll(() => rm(root, { recursive: true }));

  it("copies are computed with like mapped weights", async () => {
    expect(await run(demo, { weights: "copy" })).toEqual(expected);
  });

  it("F32 weights are rounded to nearest, ties to even, with a warning", async () => {
    // Between half a BF16 step and one and a half above each weight: some round up, some down, some are ties.
    await rewrite(join(root, "f32"), "F32", 4, (view, at, value) =>
      view.setFloat32(at, value * (1 + 3 * 2 ** -9), true),
    );
    await rewrite(join(root, "f32-rounded"), "BF16", 2, (view, at, value) =>
      view.setUint16(at, toBf16(Math.fround(value * (1 + 3 * 2 ** -9))), true),
    );
    const warning = new Promise<Error & { code?: string }>((resolve) => process.once("warning", resolve));
    expect(await run(join(root, "f32"))).toEqual(await run(join(root, "f32-rounded")));
    expect(await warning).toMatchObject({
      code: "LOCKSTEP_CONVERTED_WEIGHTS",
      message: expect.stringMatching(/F32.*MiB/),
    });
  });

  it("F16 weights, subnormal ones among them, are rounded the same way", async () => {
    let subnormal = 0;
    await rewrite(join(root, "f16"), "F16", 2, (view, at, value) => {
      const { bits } = toF16(value * (1 + 2 ** -9));
      if ((bits & 0x7c00) === 0 && (bits & 0x3ff) !== 0) subnormal += 1;
      view.setUint16(at, bits, true);
    });
    expect(subnormal).toBeGreaterThan(100);
    await rewrite(join(root, "f16-rounded"), "BF16", 2, (view, at, value) =>
      view.setUint16(at, toBf16(toF16(value * (1 + 2 ** -9)).value), true),
    );
    expect(await run(join(root, "f16"))).toEqual(await run(join(root, "f16-rounded")));
    expect(await run(join(root, "f16"))).not.toEqual(expected);
  });
});
