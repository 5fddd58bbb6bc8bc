/**
 * The native verbs as the tests see them (native/testing/ops_entries.cpp), and the values they are fed: BF16 as bits in
 * a Uint16Array, matrices with a poisoned gap between their rows.
 *
 * LOCKSTEP_TESTING_ADDON names another build of the addon (a sanitizer build, a private one).
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

export interface Matrix<A extends NodeJS.TypedArray = NodeJS.TypedArray> {
  data: A;
  rows: number;
  cols: number;
  stride?: number;
  byteOffset?: number;
}
export type Bits = Matrix<Uint16Array>;
export type Floats = Matrix<Float32Array>;

export interface Cache {
  k: Uint16Array;
  v: Uint16Array;
  numBlocks: number;
  kvHeads: number;
  headDim: number;
}

export interface SequenceSlice {
  firstRow: number;
  numTokens: number;
  startPosition: number;
  blocks: Int32Array;
}

export interface SampleRow {
  chosen?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  history?: [token: number, promptCount: number, outputCount: number][];
  bias?: [token: number, bias: number][];
  banned?: number[];
  seed?: number;
  sampleIndex?: number;
  position?: number;
  logprobs?: boolean;
  topLogprobs?: number;
  tokenIds?: number[];
  keptTokenIds?: boolean;
}

export interface SampleResult {
  token: number;
  finite: boolean;
  allBanned: boolean;
  logprob: number;
  temperatureLogprob: number;
  samplingLogprob: number;
  top: { token: number; logprob: number }[];
  tokenIdLogprobs: number[];
  keptTokenIds: number[];
}

export interface Ops {
  computePath: string;
  embed(y: Matrix, table: Matrix, ids: Int32Array): void;
  gatherRows(y: Matrix, x: Matrix, rows: Int32Array): void;
  readRows(y: Matrix, x: Matrix, rows: Int32Array): void;
  /** What place() made of `w`, read back. */
  place(y: Matrix, w: Matrix): void;
  rmsNorm(y: Matrix, x: Matrix, weight: Uint16Array, eps: number): void;
  addNorm(residual: Matrix, y: Matrix, sum: Floats, weight: Uint16Array, eps: number): void;
  ropeTable(table: Floats, positions: Int32Array, invFreq: Float32Array, scale: number): void;
  projectQkv(p: {
    q: Matrix;
    cache: Cache;
    scratch: Matrix;
    x: Matrix;
    wq: Matrix;
    wk: Matrix;
    wv: Matrix;
    qNorm: Uint16Array;
    kNorm: Uint16Array;
    eps: number;
    rope: Floats;
    sequences: SequenceSlice[];
  }): void;
  attention(y: Matrix, q: Matrix, cache: Cache, sequences: SequenceSlice[]): void;
  gateUp(y: Matrix, x: Matrix, wGate: Matrix, wUp: Matrix): void;
  linear(y: Floats, x: Matrix, w: Matrix, parts: number): void;
  sample(logits: Floats, rows: SampleRow[]): SampleResult[];
  allocate(bytes: number): boolean;
}

interface Native {
  ops: {
    paths(): string[];
    /** The backend's memory is not the host's: arguments are copied there and back. */
    onDevice: boolean;
    create(path: string, threads: number): Ops;
    math(name: "exp" | "log" | "sin" | "cos", x: Float64Array): Float64Array;
    philox(counter: Uint32Array, key: Uint32Array): Uint32Array;
    samplingDistribution(path: string, logits: Float32Array, row: SampleRow): Float64Array;
    poolStress(threads: number, jobs: number): number;
    kernelExp(path: string, x: Float32Array): Float32Array;
  };
}

export const addon =
  process.env.LOCKSTEP_TESTING_ADDON ??
  fileURLToPath(new URL("../../build/Release/lockstep-testing.node", import.meta.url));
export const native = (createRequire(import.meta.url)(addon) as Native).ops;

/** Every compute path this machine can run; each suite runs once per path. */
export const paths = native.paths();

const made = new Map<string, Ops>();
/** One Ops per path and thread count, shared by the tests of a file. */
export function opsFor(path: string, threads = 2): Ops {
  const key = `${path}/${threads}`;
  const ops = made.get(key) ?? native.create(path, threads);
  made.set(key, ops);
  return ops;
}

// ---- numbers ----

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** The nearest BF16 value's bits, ties to even; NaN stays NaN. */
export function bf16(x: number): number {
  float[0] = x;
  const bits = word[0]!;
  if (Number.isNaN(x)) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBf16(bits: number): number {
  word[0] = (bits << 16) >>> 0;
  return float[0]!;
}

export const roundBf16 = (x: number): number => fromBf16(bf16(x));

/** mulberry32: uniform in [0, 1), the same on every run. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** About normal, in [-6, 6] times scale. */
export function normal(next: () => number, scale = 1): number {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += next();
  return sum * scale;
}

// ---- matrices ----

export const POISON = 0x7fc1; // a NaN that no kernel makes
const GAP = 3;

/** [rows, cols] of random BF16 values, `gap` poisoned elements behind each row. */
export function randomBits(next: () => number, rows: number, cols: number, scale = 1, gap = GAP): Bits {
  const m = poisonedBits(rows, cols, gap);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) set(m, r, c, bf16(normal(next, scale)));
  return m;
}

export function poisonedBits(rows: number, cols: number, gap = GAP): Bits {
  return { data: new Uint16Array(rows * (cols + gap)).fill(POISON), rows, cols, stride: cols + gap };
}

export function poisonedFloats(rows: number, cols: number, gap = GAP): Floats {
  return { data: new Float32Array(rows * (cols + gap)).fill(Number.NaN), rows, cols, stride: cols + gap };
}

export const stride = (m: Matrix): number => m.stride ?? m.cols;

export function set(m: Matrix, row: number, col: number, value: number): void {
  m.data[row * stride(m) + col] = value;
}

/** Element as a number, whatever the matrix holds. */
export function at(m: Bits | Floats, row: number, col: number): number {
  const value = m.data[row * stride(m) + col]!;
  return m.data instanceof Uint16Array ? fromBf16(value) : value;
}

/** The rows as bits, joined: what bitwise comparisons compare. */
export function bits(m: Bits | Floats, rows = [...Array(m.rows).keys()]): string {
  return rows
    .map((row) => {
      const from = row * stride(m);
      return Buffer.from(m.data.slice(from, from + m.cols).buffer).toString("hex");
    })
    .join("|");
}

/** A matrix of the given rows of m. */
export function takeRows<M extends Bits | Floats>(m: M, rows: number[]): M {
  const data =
    m.data instanceof Uint16Array
      ? new Uint16Array(rows.length * m.cols)
      : new Float32Array(rows.length * m.cols);
  rows.forEach((row, i) => {
    data.set(m.data.subarray(row * stride(m), row * stride(m) + m.cols), i * m.cols);
  });
  return { data, rows: rows.length, cols: m.cols } as unknown as M;
}

/** The same BF16 matrix one byte off any alignment, as a safetensors file may hold it. */
export function misaligned(m: Bits): Matrix<Uint8Array> {
  const bytes = new Uint8Array(m.data.byteLength + 1).fill(0xff);
  bytes.set(new Uint8Array(m.data.buffer, m.data.byteOffset, m.data.byteLength), 1);
  return { ...m, data: bytes, byteOffset: 1 };
}

/** True where nothing was written between the rows. */
export function gapsIntact(m: Bits | Floats): boolean {
  for (let row = 0; row < m.rows; row++) {
    for (let i = row * stride(m) + m.cols; i < (row + 1) * stride(m); i++) {
      const value = m.data[i]!;
      if (m.data instanceof Uint16Array ? value !== POISON : !Number.isNaN(value)) return false;
    }
  }
  return true;
}
