/** What a caller gets to read when a Hub id cannot be loaded. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { resolveModel } from "../../src/hub/resolve.js";
import { kIndex, kWeights, rejection, setUp } from "./tools.js";

const place = setUp();

async function refusal(revision?: string): Promise<{ code: string; message: string }> {
  const { code, message } = await rejection(resolveModel(place.hub.id, { revision }));
  return { code, message };
}

const contains = (code: string, ...parts: string[]) => ({
  code,
  message: expect.stringMatching(
    new RegExp(parts.map((part) => part.replace(/[().?/[\]]/g, "\\$&")).join(".*")),
  ),
});

it("offline, with nothing in the cache: says where it asked and where it looked", async () => {
  await place.hub.stop();
  const { id, endpoint } = place.hub;
  expect(await refusal()).toEqual(
    contains(
      "HUB_ERROR",
      id,
      endpoint,
      "could not be reached (ECONNREFUSED; offline?)",
      "nothing complete in the cache at",
      place.repo,
    ),
  );
  vi.stubEnv("HF_HUB_OFFLINE", "1");
  expect(await refusal()).toEqual(contains("HUB_ERROR", id, "HF_HUB_OFFLINE is set", place.repo));
  expect(existsSync(place.repo)).toBe(false);
});

it("no such host", async () => {
  vi.stubEnv("HF_ENDPOINT", "http://hub.invalid");
  expect(await refusal()).toEqual(contains("HUB_ERROR", "http://hub.invalid could not be reached (E"));
});

it("no such repository or revision", async () => {
  expect(await refusal("v9")).toEqual(
    contains("MODEL_NOT_FOUND", place.hub.id, "'v9'", place.hub.endpoint, "no directory of this name"),
  );
});

it.each([
  [401, "revision", "it does not exist, or is private or gated: set HF_TOKEN"],
  [403, "resolve", "it is private or gated: set HF_TOKEN"],
  [429, "paths-info", "too many requests; with HF_TOKEN"],
  [503, "revision", "the server refuses or fails"],
])("%i on %s", async (code, kind, text) => {
  place.hub.trouble = { status: { kinds: [kind], code } };
  expect(await refusal()).toEqual(
    contains("HUB_ERROR", place.hub.id, place.hub.endpoint, String(code), text),
  );
});

it("a token without access, and one that cannot be a token, which is not shown", async () => {
  place.hub.trouble = { status: { kinds: ["revision"], code: 401 } };
  vi.stubEnv("HF_TOKEN", "hf_secret");
  expect(await refusal()).toEqual(contains("HUB_ERROR", "the token in HF_TOKEN has no access"));
  vi.stubEnv("HF_TOKEN", "hf_secret with words");
  const { code, message } = await refusal();
  expect({ code, isShown: message.includes("secret") }).toEqual({ code: "HUB_ERROR", isShown: false });
});

it("HF_ENDPOINT that is no address, or no Hub", async () => {
  vi.stubEnv("HF_ENDPOINT", "hub.example");
  expect(await refusal()).toEqual(
    contains("HUB_ERROR", "https:// or http:// in HF_ENDPOINT", "'hub.example'"),
  );
  place.hub.commit = "main; rm -rf";
  vi.stubEnv("HF_ENDPOINT", place.hub.endpoint);
  expect(await refusal()).toEqual(contains("HUB_ERROR", "Expected an answer of the Hub's API", "no commit"));
});

it("a repository without safetensors", async () => {
  place.hub.files.delete(kWeights);
  expect(await refusal()).toEqual(
    contains("MODEL_NOT_FOUND", place.hub.id, "the repository has no model.safetensors"),
  );
});

it("another family of models: refused before its weights are fetched", async () => {
  place.hub.files.set("config.json", Buffer.from('{"model_type": "llama"}'));
  expect(await refusal()).toEqual(contains("INVALID_CHECKPOINT", "config.json", "model_type"));
  expect(place.hub.ranges(kWeights)).toEqual([]);
});

it.each([
  "../../../../escaped.safetensors",
  "sub/x.safetensors",
  "/tmp/x.safetensors",
  "..\\x.safetensors",
  "x.py",
  "\0.safetensors",
])("an index that names %j: refused before anything of that name is asked for", async (shard) => {
  place.hub.files.set(kIndex, Buffer.from(JSON.stringify({ weight_map: { a: shard } })));
  expect(await refusal()).toEqual(
    contains("INVALID_CHECKPOINT", kIndex, "Expected a file name ending in .safetensors"),
  );
  const asked = place.hub.asked.filter(({ kind }) => kind === "resolve").map(({ name }) => name);
  expect(asked).toEqual([kIndex]);
  expect(readdirSync(place.snapshot())).toEqual([kIndex]);
  expect(readdirSync(join(place.repo, "blobs"))).toHaveLength(1);
});

it("an index that names a shard that is not there", async () => {
  place.hub.files.set(kIndex, Buffer.from(JSON.stringify({ weight_map: { a: "gone.safetensors" } })));
  expect(await refusal()).toEqual(
    contains("INVALID_CHECKPOINT", kIndex, "'gone.safetensors', which the repository does not have"),
  );
});

it("an index of a size that the reader refuses is not fetched", async () => {
  place.hub.files.set(kIndex, Buffer.alloc(5 << 20, " "));
  expect(await refusal()).toEqual(contains("INVALID_CHECKPOINT", kIndex, "at most 4194304 bytes"));
  expect(place.hub.ranges(kIndex)).toEqual([]);
});

it("a cache that cannot be written", async () => {
  mkdirSync(place.repo, { recursive: true });
  writeFileSync(join(place.repo, "blobs"), "a file where a folder belongs");
  expect(await refusal()).toEqual(contains("HUB_ERROR", "blobs", "could not be written to the cache (E"));
});

it("an onProgress that throws, and a signal that was aborted before", async () => {
  const thrown = new Error("mine");
  const options = {
    onProgress: () => {
      throw thrown;
    },
  };
  expect(await rejection(resolveModel(place.hub.id, options))).toBe(thrown);
  expect(await rejection(resolveModel(place.hub.id, { signal: AbortSignal.abort(thrown) }))).toBe(thrown);
});
