/** What the tests of this folder share: repositories to serve, a cache of their own, the environment put back. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, vi } from "vitest";
import type { LockstepError } from "../../src/errors.js";
import { FakeHub } from "./fake-hub.js";

export const kDemo = fileURLToPath(new URL("../../examples/demo/model", import.meta.url));
export const kWeights = "model.safetensors";
export const kIndex = "model.safetensors.index.json";

/** The demo model's files, and some that nobody asked for. */
export function demoFiles(): Map<string, Buffer> {
  const files = new Map(readdirSync(kDemo).map((name) => [name, readFileSync(join(kDemo, name))]));
  for (const name of ["README.md", "pytorch_model.bin", "modeling_tiny.py"])
    files.set(name, Buffer.from("not for us"));
  return files;
}

export interface Place {
  home: string;
  hub: FakeHub;
  /** The repository's folder in the cache. */
  repo: string;
  /** Of the commit the hub is at. */
  snapshot: () => string;
  serve: (files: Map<string, Buffer>, large?: string[]) => Promise<FakeHub>;
}

/** A cache for each test, and the demo model on a hub; `place.serve` puts another there. */
export function setUp(): Place {
  const place = {} as Place;
  place.snapshot = () => join(place.repo, "snapshots", place.hub.commit);
  place.serve = async (files, large = [kWeights]) => {
    await place.hub?.stop();
    place.hub = await new FakeHub(files, new Set(large)).start();
    vi.stubEnv("HF_ENDPOINT", place.hub.endpoint);
    place.repo = join(place.home, "hub", `models--${place.hub.id.replace("/", "--")}`);
    return place.hub;
  };
  beforeEach(async () => {
    place.home = mkdtempSync(join(tmpdir(), "lockstep-hub-"));
    for (const name of ["HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"])
      vi.stubEnv(name, undefined);
    vi.stubEnv("HF_HOME", place.home);
    await place.serve(demoFiles());
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    await place.hub.stop();
    rmSync(place.home, { recursive: true });
  });
  return place;
}

/** The error a promise is rejected with, whatever it is. */
export async function rejection(promise: Promise<unknown>): Promise<LockstepError> {
  return promise.then(
    () => {
      throw new Error("Expected a rejection");
    },
    (error: LockstepError) => error,
  );
}
