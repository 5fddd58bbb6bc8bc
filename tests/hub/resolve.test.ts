/** A Hub id becomes a directory: what is fetched, what is not, where it lies, and when nobody is asked. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { scanCachedRepo } from "@huggingface/hub";
import { expect, it, vi } from "vitest";
import { isHubId, resolveModel } from "../../src/hub/resolve.js";
import { hubSettings } from "../../src/hub/settings.js";
import { demoFiles, kDemo, kIndex, kWeights, rejection, setUp } from "./tools.js";

const place = setUp();

it("fetches what the readers open, and nothing else, into Python's layout", async () => {
  const { hub, repo } = place;
  const directory = await resolveModel(hub.id);
  expect(directory).toBe(place.snapshot());
  expect(readdirSync(directory).sort()).toEqual(readdirSync(kDemo).sort());
  for (const name of readdirSync(directory)) {
    expect(readlinkSync(join(directory, name))).toMatch(/^\.\.\/\.\.\/blobs\/([0-9a-f]{40}|[0-9a-f]{64})$/);
    expect(readFileSync(join(directory, name)).equals(hub.files.get(name)!)).toBe(true);
  }
  expect(readFileSync(join(repo, "refs/main"), "utf8")).toBe(hub.commit);
  expect(readdirSync(join(repo, "blobs")).some((name) => name.includes("incomplete"))).toBe(false);
  expect(existsSync(join(repo, ".no_exist", hub.commit, kIndex))).toBe(true);
});

it("leaves a cache that the library reads as its own", async () => {
  await resolveModel(place.hub.id);
  const { id, filesCount, revisions } = await scanCachedRepo(place.repo);
  expect({ id, filesCount }).toEqual({
    id: { type: "model", name: place.hub.id },
    filesCount: readdirSync(kDemo).length,
  });
  expect(revisions).toMatchObject([{ commitOid: place.hub.commit, refs: ["main"] }]);
});

it("reports the bytes of all files that it fetches, without going back", async () => {
  const seen: { file: string; loadedBytes: number; totalBytes: number }[] = [];
  await resolveModel(place.hub.id, { onProgress: (progress) => seen.push(progress) });
  const totalBytes = readdirSync(kDemo).reduce((sum, name) => sum + lstatSync(join(kDemo, name)).size, 0);
  expect(seen.every((progress) => progress.totalBytes === totalBytes)).toBe(true);
  const loaded = seen.map(({ loadedBytes }) => loadedBytes);
  expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
  expect(seen.at(-1)).toEqual({ file: kWeights, loadedBytes: totalBytes, totalBytes });
});

it("asks once for a branch that has not moved, and nobody for a commit", async () => {
  const { hub } = place;
  await resolveModel(hub.id);
  hub.asked.length = 0;
  await resolveModel(hub.id, { revision: "main" });
  expect(hub.asked.map(({ kind }) => kind)).toEqual(["revision"]);
  expect(await resolveModel(hub.id, { revision: hub.commit })).toBe(place.snapshot());
  vi.stubEnv("HF_HUB_OFFLINE", "1");
  expect(await resolveModel(hub.id)).toBe(place.snapshot());
  expect(hub.asked).toHaveLength(1);
});

it("follows a branch that moves, and fetches only what changed", async () => {
  const { hub, repo } = place;
  const before = await resolveModel(hub.id);
  hub.asked.length = 0;
  hub.commit = "f".repeat(40);
  hub.files.set("chat_template.jinja", Buffer.from("new"));
  const after = await resolveModel(hub.id);
  expect(after).toBe(place.snapshot());
  expect(after).not.toBe(before);
  expect(hub.asked.filter(({ sentBytes }) => sentBytes > 0).map(({ name }) => name)).toEqual([
    "chat_template.jinja",
  ]);
  expect(readFileSync(join(after, "chat_template.jinja"), "utf8")).toBe("new");
  expect(readFileSync(join(repo, "refs/main"), "utf8")).toBe(hub.commit);
});

it("uses what is in the cache when the Hub fails or is gone, tags too", async () => {
  const { hub, repo } = place;
  await resolveModel(hub.id, { revision: "v1" });
  expect(readFileSync(join(repo, "refs/v1"), "utf8")).toBe(hub.commit);
  for (const code of [401, 404, 500]) {
    hub.trouble = { status: { kinds: ["revision"], code } };
    expect(await resolveModel(hub.id, { revision: "v1" })).toBe(place.snapshot());
  }
  await hub.stop();
  expect(await resolveModel(hub.id, { revision: "v1" })).toBe(place.snapshot());
  const reason = new Error("aborted, not offline");
  expect(await rejection(resolveModel(hub.id, { revision: "v1", signal: AbortSignal.abort(reason) }))).toBe(
    reason,
  );
});

it("uses a snapshot that Python made, and completes one that lacks the tokenizer", async () => {
  const { hub, repo } = place;
  mkdirSync(place.snapshot(), { recursive: true });
  mkdirSync(join(repo, "refs"));
  writeFileSync(join(repo, "refs/main"), `${hub.commit}\n`);
  for (const name of ["config.json", kWeights])
    writeFileSync(join(place.snapshot(), name), hub.files.get(name)!);
  vi.stubEnv("HF_HUB_OFFLINE", "yes");
  expect(await resolveModel(hub.id)).toBe(place.snapshot());
  expect(hub.asked).toEqual([]);
  vi.stubEnv("HF_HUB_OFFLINE", undefined);
  await resolveModel(hub.id, { revision: hub.commit });
  expect(readdirSync(place.snapshot()).sort()).toEqual(readdirSync(kDemo).sort());
  expect(hub.ranges(kWeights)).toEqual([]);
  hub.asked.length = 0;
  await resolveModel(hub.id, { revision: hub.commit });
  expect(hub.asked).toEqual([]);
});

it("fetches the shards that the index names and not the single file beside them", async () => {
  const files = demoFiles();
  const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  for (const name of shards) files.set(name, Buffer.from(name));
  const weight_map = { a: shards[1], b: shards[0], c: shards[1] };
  files.set(kIndex, Buffer.from(JSON.stringify({ metadata: {}, weight_map })));
  const hub = await place.serve(files, shards);
  const directory = await resolveModel(hub.id);
  for (const name of shards) expect(readFileSync(join(directory, name), "utf8")).toBe(name);
  expect(existsSync(join(directory, kWeights))).toBe(false);
  hub.asked.length = 0;
  await resolveModel(hub.id, { revision: hub.commit });
  expect(hub.asked).toEqual([]);
});

it("sends the token to the Hub and not to where the Hub redirects", async () => {
  vi.stubEnv("HF_TOKEN", "not-hf_like-but-a-mirror's\n");
  await resolveModel(place.hub.id);
  for (const { kind, authorization } of place.hub.asked)
    expect(authorization).toBe(kind === "cdn" ? undefined : "Bearer not-hf_like-but-a-mirror's");
  expect(place.hub.asked.some(({ kind }) => kind === "cdn")).toBe(true);
});

it("lets a local directory win, and makes paths absolute and nothing else", async () => {
  const { hub } = place;
  for (const path of [
    kDemo,
    "./acme/x",
    "../acme/x",
    "~/x",
    "/acme/x",
    "acme\\x",
    "a/b/c",
    "acme",
    "acme/",
    "",
    ".",
    "a--b/c",
    "a/..",
    "a/b.git",
    "a/b:c",
    "a/-b",
  ])
    expect(await resolveModel(path)).toBe(resolve(path));
  expect(await resolveModel("examples/demo")).toBe(resolve("examples/demo")); // is there, in the checkout
  expect(hub.asked).toEqual([]);
  expect(["Qwen/Qwen3-0.6B", "a/b", "0x_y/Z-1.5_q"].every(isHubId)).toBe(true);
});

it("refuses a revision that would leave its folder", async () => {
  for (const revision of ["", "..", "../x", "a/../b", "a//b", "/a", "a\\b", "a b", "a\0", "x".repeat(300)]) {
    const error = await rejection(resolveModel(place.hub.id, { revision }));
    expect({ code: error.code, asked: place.hub.asked }).toEqual({ code: "INVALID_ARGUMENT", asked: [] });
  }
});

it("finds the cache where Hugging Face's tools do", () => {
  const directory = (env: Record<string, string>) =>
    hubSettings({ HF_HOME: undefined, ...env }).cacheDirectory;
  const home = process.env.HOME ?? "";
  expect(directory({})).toBe(join(home, ".cache/huggingface/hub"));
  expect(directory({ XDG_CACHE_HOME: "/x" })).toBe("/x/huggingface/hub");
  expect(directory({ HF_HOME: "~/hf", XDG_CACHE_HOME: "/x" })).toBe(join(home, "hf/hub"));
  expect(directory({ HF_HUB_CACHE: "/c", HF_HOME: "/h" })).toBe("/c");
  expect(directory({ HUGGINGFACE_HUB_CACHE: "/c", HF_HOME: "/h" })).toBe("/c");
  expect(hubSettings({}).endpoint).toBe("https://huggingface.co");
  expect(hubSettings({ HF_ENDPOINT: "https://mirror/" }).endpoint).toBe("https://mirror");
});
