/**
 * The header of a safetensors file → a list of tensors that cover the file exactly. Nothing else of the file is read.
 * Async (one open, two reads); parsing is synchronous on the main thread. Must not know any tensor by name.
 *
 * Layout: 8 bytes little-endian length N · N bytes of JSON, beginning with '{' and maybe padded with spaces · data.
 * Offsets count from the start of the data. N need not be a multiple of 8, so a tensor may start at an odd address.
 *
 * What could go wrong if…
 * - N is 2^63 or past the file: compared as a 64-bit integer, before anything is allocated.
 * - shape × dtype overflows: bounded by division before each multiplication; never `a + b > c`.
 * - a tensor claims more than its offsets cover, or two share bytes, or bytes belong to none: refused by name.
 */
import { type FileStamp, kMaxJsonBytes, readExactly, withFile } from "./files.js";
import { describe, quote, refuse } from "./refuse.js";
import { type JsonObject, type JsonValue, parseStrictJsonObject } from "./strict-json.js";

export interface SafetensorsTensor {
  name: string;
  dtype: string;
  shape: number[];
  /** From the start of the file, end exclusive. */
  beginBytes: number;
  endBytes: number;
}

export interface SafetensorsHeader {
  file: FileStamp;
  /** In the order of their bytes. */
  tensors: SafetensorsTensor[];
}

const kLengthBytes = 8;
/** The format's own limit; ours (kMaxJsonBytes) is lower, and the message says which one was met. */
const kFormatMaxHeaderBytes = 100_000_000;

const kDtypeBits: ReadonlyMap<string, number> = new Map([
  ["F4", 4],
  ["F6_E2M3", 6],
  ["F6_E3M2", 6],
  ["BOOL", 8],
  ["U8", 8],
  ["I8", 8],
  ["F8_E5M2", 8],
  ["F8_E4M3", 8],
  ["F8_E8M0", 8],
  ["F8_E4M3FNUZ", 8],
  ["F8_E5M2FNUZ", 8],
  ["I16", 16],
  ["U16", 16],
  ["F16", 16],
  ["BF16", 16],
  ["I32", 32],
  ["U32", 32],
  ["F32", 32],
  ["C64", 64],
  ["F64", 64],
  ["I64", 64],
  ["U64", 64],
]);

/** Reads and checks the header of `path`. Every refusal is an INVALID_CHECKPOINT that names file, tensor and reason. */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsHeader> {
  return withFile(path, async (handle, file) => {
    if (file.sizeBytes < kLengthBytes)
      throw refuse(path, `Expected at least ${kLengthBytes} bytes but the file has ${file.sizeBytes}`);
    const prefix = await readExactly(handle, path, 0, kLengthBytes);
    const headerBytes = checkHeaderLength(prefix.readBigUInt64LE(0), file);
    return parseSafetensorsHeader(await readExactly(handle, path, kLengthBytes, headerBytes), file);
  });
}

function checkHeaderLength(length: bigint, { path, sizeBytes }: FileStamp): number {
  if (length > BigInt(kFormatMaxHeaderBytes))
    throw refuse(
      path,
      `Expected a header of at most ${kFormatMaxHeaderBytes} bytes but its length says ${length}`,
    );
  if (length > BigInt(sizeBytes - kLengthBytes)) {
    const left = sizeBytes - kLengthBytes;
    throw refuse(
      path,
      `Expected a header of at most ${left} bytes, the rest of the file, but its length says ${length}`,
    );
  }
  if (length > BigInt(kMaxJsonBytes))
    throw refuse(
      path,
      `Expected a header of at most ${kMaxJsonBytes} bytes (this reader's limit) but its length says ${length}`,
    );
  return Number(length);
}

/** The header's bytes, without the length, checked against the file's size. */
export function parseSafetensorsHeader(header: Buffer, file: FileStamp): SafetensorsHeader {
  if (header[0] !== 0x7b) throw refuse(file.path, "Expected the header to begin with '{' but it does not");
  const entries = parseStrictJsonObject(header, file.path, { integersOnly: true });
  const dataStart = kLengthBytes + header.length;
  const dataBytes = file.sizeBytes - dataStart;
  checkMetadata(entries.get("__metadata__"), file.path);
  entries.delete("__metadata__");
  const tensors = [...entries].map(([name, entry]) =>
    readTensor(name, entry, dataStart, dataBytes, file.path),
  );
  tensors.sort((a, b) => a.beginBytes - b.beginBytes || a.endBytes - b.endBytes);
  checkCoverage(tensors, dataStart, file);
  return { file, tensors };
}

/** Strings that nobody here needs; a file whose metadata is malformed is refused all the same. */
function checkMetadata(value: JsonValue | undefined, path: string): void {
  if (value === undefined) return;
  if (!(value instanceof Map))
    throw refuse(path, `Expected an object of strings for __metadata__ but received ${describe(value)}`);
  for (const [key, item] of value)
    if (typeof item !== "string")
      throw refuse(
        path,
        `Expected a string for __metadata__ key ${quote(key)} but received ${describe(item)}`,
      );
}

function readTensor(
  name: string,
  entry: JsonValue,
  dataStart: number,
  dataBytes: number,
  path: string,
): SafetensorsTensor {
  const fail = (reason: string) => refuse(path, `tensor ${quote(name)}: ${reason}`);
  if (!(entry instanceof Map)) throw fail(`Expected an object but received ${describe(entry)}`);
  for (const key of entry.keys())
    if (key !== "dtype" && key !== "shape" && key !== "data_offsets")
      throw fail(`Expected dtype, shape and data_offsets only but received ${quote(key)}`);
  const dtype = entry.get("dtype");
  const bits = typeof dtype === "string" ? kDtypeBits.get(dtype) : undefined;
  if (typeof dtype !== "string" || bits === undefined)
    throw fail(`Expected a safetensors dtype but received ${describe(dtype)}`);
  const shape = integers(entry, "shape");
  if (shape === undefined)
    throw fail(`Expected an array of integers for shape but received ${describe(entry.get("shape"))}`);
  const offsets = integers(entry, "data_offsets");
  if (offsets?.length !== 2)
    throw fail(`Expected [begin, end] for data_offsets but received ${describe(entry.get("data_offsets"))}`);
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw fail(`Expected data_offsets with begin <= end but received [${begin}, ${end}]`);
  if (end > dataBytes)
    throw fail(
      `Expected data_offsets within the file's ${dataBytes} bytes of data but received [${begin}, ${end}]: truncated?`,
    );
  const bytes = tensorBytes(shape, bits);
  if (bytes === undefined)
    throw fail(
      `Expected a size in whole bytes below 2^53 but shape [${shape.slice(0, 8)}] of ${dtype} has none`,
    );
  if (bytes !== end - begin)
    throw fail(
      `Expected ${bytes} bytes for shape [${shape.slice(0, 8)}] of ${dtype} but data_offsets [${begin}, ${end}] cover ${end - begin}`,
    );
  return { name, dtype, shape, beginBytes: dataStart + begin, endBytes: dataStart + end };
}

/** The parser has made sure that numbers are safe non-negative integers. */
function integers(entry: JsonObject, key: string): number[] | undefined {
  const value = entry.get(key);
  return Array.isArray(value) && value.every((item) => typeof item === "number")
    ? (value as number[])
    : undefined;
}

/** Bytes of a dense tensor; undefined if it overflows or ends inside a byte. `[]` is one element. */
function tensorBytes(shape: number[], bits: number): number | undefined {
  const maxElements = Math.floor(Number.MAX_SAFE_INTEGER / bits);
  let elements = 1;
  for (const size of shape) {
    if (size !== 0 && elements > Math.floor(maxElements / size)) return undefined;
    elements *= size;
  }
  return (elements * bits) % 8 === 0 ? (elements * bits) / 8 : undefined;
}

/** `tensors` in byte order must follow each other without hole or overlap, to the last byte of the file. */
function checkCoverage(tensors: SafetensorsTensor[], dataStart: number, file: FileStamp): void {
  let reached = dataStart;
  let previous = "the header";
  for (const { name, beginBytes, endBytes } of tensors) {
    if (beginBytes < reached)
      throw refuse(
        file.path,
        `tensor ${quote(name)}: Expected to begin at ${reached - dataStart}, after ${previous}, but it begins at ${beginBytes - dataStart}: they overlap`,
      );
    if (beginBytes > reached)
      throw refuse(
        file.path,
        `tensor ${quote(name)}: Expected to begin at ${reached - dataStart}, after ${previous}, but it begins at ${beginBytes - dataStart}: a hole`,
      );
    reached = endBytes;
    previous = quote(name);
  }
  if (reached !== file.sizeBytes)
    throw refuse(
      file.path,
      `Expected the file to end after ${previous}, at byte ${reached}, but it has ${file.sizeBytes - reached} trailing bytes`,
    );
}
