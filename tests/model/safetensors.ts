/**
 * A second safetensors reader, and a writer of BF16 files: obvious code that shares none with src/. Trusts its input.
 */
import { readFileSync, writeFileSync } from "node:fs";

export interface Tensor {
  shape: number[];
  /** BF16 widened, or F32 as it is. */
  values: Float32Array;
}

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

export function readSafetensors(path: string): Map<string, Tensor> {
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const { __metadata__, ...header } = JSON.parse(bytes.toString("utf8", 8, 8 + headerBytes)) as Header;
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    const [begin, end] = data_offsets;
    const data = Uint8Array.from(bytes.subarray(8 + headerBytes + begin, 8 + headerBytes + end)).buffer; // aligned
    if (dtype !== "F32" && dtype !== "BF16") throw new Error(`${path}: ${name} is ${dtype}`);
    const values = dtype === "F32" ? new Float32Array(data) : widen(new Uint16Array(data));
    tensors.set(name, { shape, values });
  }
  return tensors;
}

/** BF16 bits → float32. */
export function widen(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; ++i) words[i] = bits[i]! << 16;
  return new Float32Array(words.buffer);
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** The nearest BF16 value of a finite number, ties to even. */
export function bf16(x: number): number {
  scratch[0] = x;
  const bits = scratchBits[0]!;
  scratchBits[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return scratch[0]!;
}

/** Writes the tensors as BF16; `padding` spaces end the header, so that data may start at an odd address. */
export function writeSafetensors(path: string, tensors: Map<string, Tensor>, padding = 0): void {
  const header: Header = {};
  const parts: Buffer[] = [];
  let at = 0;
  for (const [name, { shape, values }] of tensors) {
    const bits = new Uint16Array(values.length);
    for (let i = 0; i < values.length; ++i) {
      scratch[0] = bf16(values[i]!);
      bits[i] = scratchBits[0]! >>> 16;
    }
    header[name] = { dtype: "BF16", shape, data_offsets: [at, at + bits.byteLength] };
    parts.push(Buffer.from(bits.buffer));
    at += bits.byteLength;
  }
  const text = Buffer.from(
    JSON.stringify({ __metadata__: { format: "pt" }, ...header }) + " ".repeat(padding),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([length, text, ...parts]));
}
