/**
 * New weights for an engine, from a checkpoint directory or from named tensors in memory: checked against the architecture
 * that was loaded, and read into memory of the engine's own (or mapped), while the engine goes on. Main thread (or a worker's).
 *
 * A directory is read on a thread of libuv's pool. Tensors are read here, in turns of the event loop: while this thread
 * runs nobody can detach, shrink or free a buffer, and each turn looks again.
 */
import { join, resolve } from "node:path";
import { isDeepStrictEqual, types } from "node:util";
import { checkOptions, isPlainObject, itemsOf, oneOf, reading, type Schema } from "./check.js";
import { type Checkpoint, openCheckpoint } from "./checkpoint/checkpoint.js";
import type { ModelConfig } from "./checkpoint/config.js";
import { expectedTensors, matchTensors, type StoredDtype } from "./checkpoint/expected-tensors.js";
import { refuse } from "./checkpoint/refuse.js";
import { invalid, LockstepError } from "./errors.js";
import { type NativeStagedWeights, native, nativeError } from "./native.js";
import { onAbort } from "./signals.js";
import { mapInTurns } from "./turns.js";

export interface NamedTensor {
  /** F16 and F32 are rounded to BF16, to nearest, ties to even. */
  dtype: StoredDtype;
  shape: readonly number[];
  /** Row-major, of exactly as many bytes as shape and dtype say. Shared memory will do. */
  data: ArrayBufferView | ArrayBufferLike;
}

/** A bare Float32Array is F32, a bare Uint16Array holds BF16 bits; both have the shape that the model expects. */
export type NamedTensors =
  | Readonly<Record<string, NamedTensor | Float32Array | Uint16Array>>
  | Iterable<readonly [string, NamedTensor | Float32Array | Uint16Array]>;

/** A directory as Engine.load takes it, or every tensor of the model by its Hugging Face name. */
export type WeightsSource = string | NamedTensors;

export interface Staging {
  /** What the engine was loaded with. */
  loaded: Checkpoint;
  /** Copy a directory's weights into memory instead of mapping its files. */
  copy: boolean;
  signal: AbortSignal;
}

/** All of the source, read and checked. Rejects with INVALID_CHECKPOINT where it does not fit the model that was loaded. */
export async function stageWeights(source: unknown, staging: Staging): Promise<NativeStagedWeights> {
  if (source === "" || (typeof source !== "string" && (typeof source !== "object" || source === null)))
    throw invalid("a directory or named tensors", "the weights", source);
  const { signal } = staging;
  signal.throwIfAborted();
  try {
    return await (typeof source === "string"
      ? stageDirectory(resolve(source), staging)
      : stageTensors(source, staging));
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

async function stageDirectory(directory: string, { loaded, copy, signal }: Staging) {
  const checkpoint = await openCheckpoint(directory);
  checkArchitecture(checkpoint, loaded);
  signal.throwIfAborted();
  const staged = new (native().StagedWeights)(checkpoint);
  const forget = onAbort(signal, () => staged.cancel());
  try {
    await staged.read(copy);
  } catch (error) {
    throw nativeError(error);
  } finally {
    forget();
  }
  return staged;
}

/** Keys of what the numbers, and the engine's memory, rest on; max_position_embeddings and the like may differ. */
const kArchitecture: (keyof ModelConfig)[] = [
  "hiddenSize",
  "intermediateSize",
  "numLayers",
  "numHeads",
  "numKvHeads",
  "headDim",
  "vocabSize",
  "rmsNormEps",
  "tieWordEmbeddings",
  "rope",
];

function checkArchitecture({ directory, config, hasHead }: Checkpoint, loaded: Checkpoint): void {
  const differences = kArchitecture
    .filter((key) => !isDeepStrictEqual(config[key], loaded.config[key]))
    .map((key) => `${key} ${JSON.stringify(config[key])} (loaded: ${JSON.stringify(loaded.config[key])})`);
  if (hasHead !== loaded.hasHead)
    differences.push(hasHead ? "a head (loaded: none)" : "no head (loaded: one)");
  if (differences.length > 0)
    throw refuse(
      join(directory, "config.json"),
      `Expected the architecture that the engine was loaded with but received ${differences.join(", ")}`,
    );
}

interface Source {
  name: string;
  dtype: StoredDtype;
  shape: number[];
  data: ArrayBufferView | ArrayBufferLike;
}

/** How messages name tensors that lie in no file. */
const kWhere = "the named tensors";
/** Between two looks at the clock: about a millisecond's work. */
const kPieceElements = 2 ** 20;

async function stageTensors(given: object, { loaded, signal }: Staging) {
  const sources = reading("the weights", () => checkSources(given, loaded.config));
  const found = sources.map(({ name, dtype, shape }, file) => ({
    ...{ name, dtype, shape, file },
    ...{ beginBytes: 0, endBytes: 0 },
  }));
  const places = sources.map(() => kWhere);
  const { tensors, hasHead } = matchTensors(loaded.config, found, places, kWhere);
  if (hasHead !== loaded.hasHead)
    throw refuse(kWhere, `Expected ${hasHead ? "no" : "a"} tensor 'lm_head.weight', as it was loaded`);
  const staged = rethrowing(() => new (native().StagedWeights)({ files: [], tensors }));
  const views = tensors.map(({ name, dtype, shape, file }) => {
    const elements = shape.reduce((product, size) => product * size, 1);
    return { name, dtype, elements, bytes: bytesOf(sources[file]!, elements) };
  });
  await mapInTurns(piecesOf(views), ({ view, first }) => {
    signal.throwIfAborted();
    const { name, dtype, elements, bytes } = view;
    const each = sizeOf(dtype);
    checkBytes(name, bytes, elements * each);
    const piece = bytes.subarray(first * each, (first + kPieceElements) * each);
    rethrowing(() => staged.write(name, first, dtype, piece));
  });
  return staged;
}

const sizeOf = (dtype: StoredDtype): number => (dtype === "F32" ? 4 : 2);

function* piecesOf<V extends { elements: number }>(
  views: readonly V[],
): Iterable<{ view: V; first: number }> {
  for (const view of views)
    for (let first = 0; first < view.elements; first += kPieceElements) yield { view, first };
}

/** More than the largest model that is supported has. */
const kMaxTensors = 2 ** 14;

function checkSources(given: object, config: ModelConfig): Source[] {
  const shapes = new Map(expectedTensors(config).map(({ name, shape }) => [name, shape]));
  const sources = new Map<string, Source>();
  for (const [name, value] of entriesOf(given)) {
    if (typeof name !== "string") throw invalid("a string", "the name of a tensor", name);
    if (sources.has(name)) throw invalid("each tensor once", kWhere, name);
    if (sources.size === kMaxTensors) throw invalid(`at most ${kMaxTensors} tensors`, kWhere, given);
    const full = name.startsWith("model.") || shapes.has(name) ? name : `model.${name}`;
    sources.set(name, checkSource(name, value, shapes.get(full)));
  }
  return [...sources.values()];
}

function* entriesOf(given: object): Iterable<[unknown, unknown]> {
  const iterable = given as Partial<Iterable<unknown>>;
  if (typeof iterable[Symbol.iterator] !== "function") {
    if (!isPlainObject(given)) throw invalid("an object of named tensors, or a Map", "the weights", given);
    return yield* Object.entries(given);
  }
  for (const entry of iterable as Iterable<unknown>) {
    if (!Array.isArray(entry) || entry.length !== 2)
      throw invalid("pairs of a name and a tensor", "the weights", entry);
    yield entry as [unknown, unknown];
  }
}

const kTensorSchema: Schema<NamedTensor> = {
  dtype: oneOf("BF16", "F16", "F32"),
  shape: (value, where) => {
    if (!Array.isArray(value)) throw invalid("an array of sizes", where, value);
    const sizes = itemsOf(value, where, 8, "sizes");
    sizes.forEach((size, i) => {
      if (!Number.isSafeInteger(size) || (size as number) < 0)
        throw invalid("an integer from 0 on", `${where}[${i}]`, size);
    });
    return sizes as number[];
  },
  data: (value, where) => {
    if (!ArrayBuffer.isView(value) && !types.isAnyArrayBuffer(value))
      throw invalid("a typed array or a buffer", where, value);
    return value;
  },
};

function checkSource(name: string, value: unknown, expected: number[] | undefined): Source {
  const dtype = types.isFloat32Array(value) ? "F32" : types.isUint16Array(value) ? "BF16" : undefined;
  if (dtype) {
    const data = value as Float32Array | Uint16Array;
    if (data.length === 0 && expected !== undefined)
      checkBytes(name, data, elementsOf(expected) * sizeOf(dtype));
    const fits = expected !== undefined && elementsOf(expected) === data.length;
    return { name, dtype, shape: fits ? expected : [data.length], data };
  }
  const where = `tensor '${name}'`;
  if (!isPlainObject(value))
    throw invalid("a Float32Array, a Uint16Array of BF16 bits, or { dtype, shape, data }", where, value);
  const tensor = checkOptions(value, where, kTensorSchema);
  for (const key of Object.keys(kTensorSchema) as (keyof NamedTensor)[])
    if (tensor[key] === undefined) throw invalid(`its ${key}`, where, undefined);
  const { dtype: stored, shape, data } = tensor as NamedTensor;
  return { name, dtype: stored, shape: [...shape], data };
}

const elementsOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** All bytes of a tensor's data, whatever holds them. */
function bytesOf({ name, dtype, data }: Source, elements: number): Uint8Array {
  checkBytes(name, data, elements * sizeOf(dtype));
  if (!ArrayBuffer.isView(data)) return new Uint8Array(data, 0, data.byteLength);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** A detached buffer has no bytes, nor has a view that its buffer has grown too short for. */
function checkBytes(name: string, { byteLength }: { byteLength: number }, expected: number): void {
  if (byteLength === expected) return;
  const lost = byteLength === 0 ? ": its buffer is detached, or has shrunk" : "";
  throw new LockstepError(
    "INVALID_ARGUMENT",
    `Expected ${expected} bytes, by shape and dtype, for the data of tensor '${name}' but received ${byteLength}${lost}`,
  );
}

function rethrowing<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw nativeError(error);
  }
}
