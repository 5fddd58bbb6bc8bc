/** Downloads that break off: what is asked again, what is kept, what is thrown away. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect, it } from "vitest";
import { resolveModel } from "../../src/hub/resolve.js";
import { hashOf } from "./fake-hub.js";
import { kWeights, rejection, setUp } from "./tools.js";

const place = setUp();
const kMiB = 1 << 20;

const blobPath = () => join(place.repo, "blobs", hashOf(place.hub.files.get(kWeights)!, true));
const partialPath = () => `${blobPath()}.incomplete`;
const partialSize = () => (existsSync(partialPath()) ? statSync(partialPath()).size : 0);
const weightsAreRight = () =>
  readFileSync(join(place.snapshot(), kWeights)).equals(place.hub.files.get(kWeights)!);

it("goes on where the connection was cut", async () => {
  const { hub } = place;
  let cuts = 0;
  const until = () => partialSize() === (cuts + 1) * kMiB && ++cuts > 0;
  hub.trouble = { cut: { name: kWeights, afterBytes: kMiB, times: 2, until } };
  await resolveModel(hub.id);
  expect(hub.ranges(kWeights)).toEqual([undefined, `bytes=${kMiB}-`, `bytes=${2 * kMiB}-`]);
  expect(weightsAreRight()).toBe(true);
});

it("gives up when a request brings nothing", async () => {
  place.hub.trouble = { cut: { name: kWeights, afterBytes: 0, times: 9 } };
  const error = await rejection(resolveModel(place.hub.id));
  expect(error.code).toBe("HUB_ERROR");
  expect(error.message).toContain(`was lost while ${kWeights} was coming`);
  expect(place.hub.asked.filter(({ kind }) => kind === "cdn")).toHaveLength(1);
});

it("keeps what came when the Hub goes away, and the next load goes on from there", async () => {
  const { hub } = place;
  hub.trouble = { stall: { name: kWeights, afterBytes: kMiB } };
  const loading = resolveModel(hub.id);
  await expect.poll(partialSize).toBe(kMiB);
  await hub.stop();
  const error = await rejection(loading);
  expect(error.code).toBe("HUB_ERROR");
  expect(error.message).toContain("could not be reached (ECONNREFUSED; offline?)");
  expect(partialSize()).toBe(kMiB);
  expect(existsSync(join(place.repo, "refs"))).toBe(false);

  const again = await place.serve(hub.files);
  const seen: number[] = [];
  await resolveModel(again.id, { onProgress: ({ loadedBytes }) => seen.push(loadedBytes) });
  expect(again.ranges(kWeights)).toEqual([`bytes=${kMiB}-`]);
  expect(seen[0]).toBeGreaterThanOrEqual(kMiB);
  expect(weightsAreRight()).toBe(true);
  expect(existsSync(partialPath())).toBe(false);
});

it.each([0, kMiB])(
  "stops when aborted after %i bytes, with the reason, and keeps what came",
  async (bytes) => {
    const { hub } = place;
    hub.trouble = { stall: { name: kWeights, afterBytes: bytes } };
    const controller = new AbortController();
    const reason = new Error("enough");
    const loading = resolveModel(hub.id, { signal: controller.signal });
    await expect
      .poll(() => hub.asked.some(({ kind }) => kind === "cdn") && partialSize() === bytes)
      .toBe(true);
    await setTimeout(50); // the headers arrive, too
    controller.abort(reason);
    expect(await rejection(loading)).toBe(reason);
    expect(partialSize()).toBe(bytes);
    hub.trouble = {};
    await resolveModel(hub.id);
    expect(hub.ranges(kWeights).at(-1)).toBe(bytes > 0 ? `bytes=${bytes}-` : undefined);
    expect(weightsAreRight()).toBe(true);
  },
);

it.each(["revision", "paths-info", "resolve"])("stops when aborted before %s is answered", async (hang) => {
  const { hub } = place;
  hub.trouble = { hang };
  const controller = new AbortController();
  const reason = new Error("enough");
  const loading = resolveModel(hub.id, { signal: controller.signal });
  await expect.poll(() => hub.asked.at(-1)?.kind).toBe(hang);
  controller.abort(reason);
  expect(await rejection(loading)).toBe(reason);
});

it("begins again where the server does not do ranges", async () => {
  const { hub } = place;
  hub.trouble = {
    cut: { name: kWeights, afterBytes: kMiB, times: 1, until: () => partialSize() > 0 },
    ignoreRanges: true,
  };
  await resolveModel(hub.id);
  expect(hub.ranges(kWeights)).toHaveLength(2);
  expect(weightsAreRight()).toBe(true);
});

it.each([
  ["wrong", (size: number) => Buffer.alloc(size / 2, 1), 2],
  ["too long", (size: number) => Buffer.alloc(size + 1), 1],
  ["whole, but wrong", (size: number) => Buffer.alloc(size), 1],
] as const)("throws a partial file away that is %s", async (_, partial, requests) => {
  const { hub } = place;
  mkdirSync(join(place.repo, "blobs"), { recursive: true });
  writeFileSync(partialPath(), partial(hub.files.get(kWeights)!.length));
  await resolveModel(hub.id);
  expect(hub.ranges(kWeights)).toHaveLength(requests);
  expect(hub.ranges(kWeights).at(-1)).toBeUndefined();
  expect(weightsAreRight()).toBe(true);
});

it("takes a partial file that is whole without asking for bytes", async () => {
  const { hub } = place;
  mkdirSync(join(place.repo, "blobs"), { recursive: true });
  writeFileSync(partialPath(), hub.files.get(kWeights)!);
  await resolveModel(hub.id);
  expect(hub.ranges(kWeights)).toEqual([]);
  expect(weightsAreRight()).toBe(true);
});

it.each([kWeights, "tokenizer.json"])("refuses %s with other bytes than the hash promises", async (name) => {
  const { hub } = place;
  hub.trouble = { corruptOnce: name };
  const error = await rejection(resolveModel(hub.id));
  expect(error.code).toBe("HUB_ERROR");
  expect(error.message).toContain(`Expected ${name} with the hash`);
  expect(readdirSync(join(place.repo, "blobs")).some((blob) => blob.endsWith(".incomplete"))).toBe(false);
  expect(existsSync(join(place.snapshot(), name))).toBe(false);
  await resolveModel(hub.id);
  expect(weightsAreRight()).toBe(true);
});

it("lets several loads fetch the same files at once", async () => {
  const { hub } = place;
  hub.trouble = {
    cut: { name: kWeights, afterBytes: 3 * kMiB, times: 1, until: () => partialSize() >= 3 * kMiB },
  };
  const directories = await Promise.all([resolveModel(hub.id), resolveModel(hub.id), resolveModel(hub.id)]);
  expect(new Set(directories)).toEqual(new Set([place.snapshot()]));
  expect(weightsAreRight()).toBe(true);
  expect(readdirSync(join(place.repo, "blobs")).some((blob) => blob.endsWith(".incomplete"))).toBe(false);
});

it("stops when another process has made the blob meanwhile, and leaves that blob alone", async () => {
  const { hub } = place;
  let wrote = false;
  const until = () => partialSize() === kMiB && writeBlob();
  const writeBlob = () => {
    writeFileSync(blobPath(), hub.files.get(kWeights)!);
    utimesSync(blobPath(), 1, 1);
    wrote = true;
    return true;
  };
  hub.trouble = { cut: { name: kWeights, afterBytes: kMiB, times: 1, until } };
  await resolveModel(hub.id);
  expect(wrote).toBe(true);
  expect(statSync(blobPath()).mtimeMs).toBe(1000);
  expect(weightsAreRight()).toBe(true);
  expect(existsSync(partialPath())).toBe(false);
});
