/** Owns fingerprints of files on the command line: what a run was made with, told apart by content and not by name. Main thread. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

export async function digestOfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

const kSamples = 64;
const kSampleBytes = 65_536;

/**
 * Of all that decides what a checkpoint samples: its small files whole, and of its weights 64 pieces a file, for reading all
 * takes minutes. Training changes weights everywhere.
 */
export async function digestOfCheckpoint(directory: string): Promise<string> {
  const hash = createHash("sha256");
  for (const name of (await readdir(directory)).sort()) {
    const path = join(directory, name);
    if (/\.(json|jinja)$/.test(name)) hash.update(name).update(await readFile(path));
    if (!name.endsWith(".safetensors")) continue;
    const file = await open(path);
    try {
      const { size } = await file.stat();
      hash.update(`${name} ${size}`);
      for (let i = 0; i < kSamples; ++i) {
        const { buffer, bytesRead } = await file.read({
          buffer: Buffer.alloc(kSampleBytes),
          position: Math.floor((i * Math.max(0, size - kSampleBytes)) / (kSamples - 1)),
        });
        hash.update(buffer.subarray(0, bytesRead));
      }
    } finally {
      await file.close();
    }
  }
  return hash.digest("hex");
}
