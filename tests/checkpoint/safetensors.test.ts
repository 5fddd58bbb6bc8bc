/** The header reader: against a second reader on valid files, under random damage, and on the shared checkpoints. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { parseSafetensorsHeader, readSafetensorsHeader } from "../../src/checkpoint/safetensors.js";
import { LockstepError } from "../../src/errors.js";
import {
  bytesOf,
  kWeights,
  layOut,
  rawSafetensors,
  type Spec,
  safetensors,
  tinyFiles,
  tinySpecs,
  writeFiles,
} from "./tiny.js";

interface SecondReader {
  metadata: Map<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
}
// The package's module entry has no "exports", so Node needs the UMD build.
const { SafeTensor } = createRequire(import.meta.url)("safetensors") as {
  SafeTensor: new (bytes: Uint8Array) => SecondReader;
};

const parseFile = (bytes: Buffer) =>
  parseSafetensorsHeader(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))), {
    path: "x.safetensors",
    sizeBytes: bytes.length,
    mtimeMs: 0,
  });

/** Our table and that of the npm package, on bytes with `__metadata__` taken out (it throws on it). */
function expectSameTable(bytes: Buffer): void {
  const ours = parseFile(bytes);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + length)) as Record<string, unknown>;
  delete header.__metadata__;
  const text = JSON.stringify(header);
  const stripped = text + " ".repeat(length - Buffer.byteLength(text));
  const second = new SafeTensor(new Uint8Array(rawSafetensors(stripped, 0)));
  expect(
    new Map(
      ours.tensors.map((t) => [
        t.name,
        { dtype: t.dtype, shape: t.shape, data_offsets: [t.beginBytes, t.endBytes] },
      ]),
    ),
  ).toEqual(second.metadata);
}

const specs = fc
  .uniqueArray(fc.string({ minLength: 1, maxLength: 12, unit: "grapheme" }), { maxLength: 12 })
  .chain((names) =>
    fc.tuple(
      ...names
        .filter((name) => !["__metadata__", "__proto__"].includes(name))
        .map((name) =>
          fc.record({
            name: fc.constant(name),
            dtype: fc.constantFrom("BF16", "F32", "U8", "F64", "BOOL", "I64"),
            shape: fc.array(fc.nat(5), { maxLength: 4 }),
          }),
        ),
    ),
  ) as fc.Arbitrary<Spec[]>;

describe("agrees with npm safetensors", () => {
  it("on generated files: any names, dtypes, shapes (scalar and empty too), paddings", () => {
    fc.assert(
      fc.property(specs, fc.nat(9), (list, padding) =>
        expectSameTable(safetensors(list, { format: "pt" }, padding)),
      ),
      { numRuns: 300 },
    );
  });

  it("returns the tensors in file order, without __metadata__", () => {
    const header = parseFile(safetensors(tinySpecs(), { format: "pt", "": "" }));
    expect(header.tensors.map(({ name }) => name)).toEqual(tinySpecs().map(({ name }) => name));
  });
});

/** A typed refusal, or a table whose rows tile the file's data. */
function expectSoundOrRefused(bytes: Buffer): boolean {
  try {
    const { tensors } = parseFile(bytes);
    let reached = 8 + Number(bytes.readBigUInt64LE(0));
    for (const { beginBytes, endBytes } of tensors) {
      expect(beginBytes).toBe(reached);
      expect(endBytes).toBeGreaterThanOrEqual(beginBytes);
      reached = endBytes;
    }
    expect(reached).toBe(bytes.length);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(LockstepError);
    expect((error as LockstepError).code).toBe("INVALID_CHECKPOINT");
    return false;
  }
}

describe("random damage", () => {
  const { header, dataBytes } = layOut(tinySpecs().slice(0, 4));
  const text = Buffer.from(JSON.stringify(header));
  const damage = fc.array(
    fc.oneof(
      fc.record({ at: fc.nat(text.length), remove: fc.nat(3), insert: fc.uint8Array({ maxLength: 3 }) }),
      fc.record({
        at: fc.nat(text.length),
        remove: fc.nat(8),
        insert: fc
          .constantFrom(
            "0",
            "-1",
            "9",
            "12",
            "1e3",
            "null",
            "[]",
            "{}",
            "[",
            '"',
            '"a":',
            ",",
            "\\",
            "4294967296",
            "9007199254740991",
          )
          .map((token) => Buffer.from(token)),
      }),
    ),
    { minLength: 1, maxLength: 4 },
  );
  const apply = (edits: { at: number; remove: number; insert: Uint8Array }[]) =>
    edits.reduce<Buffer>(
      (b, { at, remove, insert }) => Buffer.concat([b.subarray(0, at), insert, b.subarray(at + remove)]),
      text,
    );

  it("of the header text: refused with a type, or a table inside the file", () => {
    fc.assert(
      fc.property(damage, fc.integer({ min: -4, max: 4 }), (edits, grow) => {
        expectSoundOrRefused(rawSafetensors(apply(edits), Math.max(0, dataBytes + grow)));
      }),
      { numRuns: 4000 },
    );
  });

  it("of shapes and offsets: accepted exactly where an exact-integer check says so", () => {
    const int = fc.oneof(
      fc.nat(40),
      fc.constantFrom(2 ** 31, 2 ** 32, 2 ** 40, 2 ** 52, Number.MAX_SAFE_INTEGER),
    );
    const entry = fc.record({ shape: fc.array(int, { maxLength: 3 }), begin: int, length: int });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 3 }), fc.nat(80), (entries, data) => {
        const safe = entries.every(({ begin, length }) => Number.isSafeInteger(begin + length));
        const rows = entries.map((e, i) => [
          `t${i}`,
          { dtype: "BF16", shape: e.shape, data_offsets: [e.begin, e.begin + e.length] },
        ]);
        const accepted = expectSoundOrRefused(rawSafetensors(JSON.stringify(Object.fromEntries(rows)), data));
        if (!safe) return !accepted;
        const ordered = [...entries].sort((a, b) => a.begin - b.begin || a.length - b.length);
        let reached = 0;
        for (const { shape, begin, length } of ordered) {
          const bytes = shape.reduce((product, size) => product * BigInt(size), 2n);
          if (begin !== reached || bytes !== BigInt(length)) return !accepted;
          reached += length;
        }
        // [2^53 - 1, 2^53 - 1, 0] is 0 bytes, but overflows on the way: refused, as by the Rust reader.
        const overflows = entries.some(({ shape }) => shape.includes(0) && shape.some((size) => size > 1e6));
        return overflows || accepted === (reached === data);
      }),
      { numRuns: 2000 },
    );
  });

  it("of whole files on disk", async () => {
    const root = mkdtempSync(join(tmpdir(), "lockstep-fuzz-"));
    const original = safetensors(tinySpecs());
    const position = fc.oneof(fc.nat(15), fc.nat(original.length - 1));
    let run = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(position, fc.nat(255)), { maxLength: 3 }),
        fc.nat(40),
        async (edits, cut) => {
          const bytes = Buffer.from(original.subarray(0, original.length - (cut > 20 ? 0 : cut)));
          for (const [at, byte] of edits) if (at < bytes.length) bytes[at] = byte;
          const directory = join(root, String(run++));
          writeFiles(directory, tinyFiles({ [kWeights]: bytes }));
          const result = await openCheckpoint(directory).catch((error: unknown) => error);
          if (result instanceof Error) expect(result).toBeInstanceOf(LockstepError);
          rmSync(directory, { recursive: true });
        },
      ),
      { numRuns: 300 },
    );
    rmSync(root, { recursive: true });
  });
});

const shared = resolve(import.meta.dirname, "../../../shared");
const checkpoints = ["goldens/models", "demo"]
  .map((folder) => join(shared, folder))
  .filter((folder) => existsSync(folder))
  .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  .filter((directory) => existsSync(join(directory, "config.json")));

describe.skipIf(checkpoints.length === 0)(
  "the shared checkpoints (skipped where ../shared is absent)",
  () => {
    it.each(checkpoints.map((directory) => [directory.slice(shared.length + 1), directory]))(
      "%s",
      async (name, directory) => {
        const checkpoint = await openCheckpoint(directory);
        expect(checkpoint.hasHead).toBe(true);
        expect(checkpoint.files).toHaveLength(name.endsWith("deep-sharded") ? 11 : 1);
        const weightBytes = checkpoint.tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
        let headerBytes = 0;
        for (const { path } of checkpoint.files) {
          const bytes = readFileSync(path);
          headerBytes += 8 + Number(bytes.readBigUInt64LE(0));
          expectSameTable(bytes);
        }
        expect(weightBytes + headerBytes).toBe(
          checkpoint.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
        );
        expect(checkpoint.eosTokenIds).toEqual(name === "demo/model" ? [696, 694] : [2]);
        if (name.endsWith("yarn-x4")) {
          expect(checkpoint.config).toMatchObject({
            maxContext: 256,
            rope: { yarn: { factor: 4, originalMaxPositionEmbeddings: 64 } },
          });
        }
      },
    );

    it("golden.safetensors, in float32", async () => {
      for (const directory of checkpoints) {
        const path = join(directory, "golden.safetensors");
        if (existsSync(path)) expect((await readSafetensorsHeader(path)).tensors.length).toBeGreaterThan(0);
      }
    });
  },
);
