/** Engine.load with a Hub id, on the built package as a user has it. */
import { Engine, type LoadProgress } from "lockstep";
import { expect, it } from "vitest";
import { runCli } from "../cli/run-cli.js";
import { kDemo, rejection, setUp } from "./tools.js";

const place = setUp();
const kPrompt = { text: "Please switch off the bedroom light." };
const kGreedy = { maxTokens: 8, temperature: 0 };

async function tokensOf(model: string, options = {}): Promise<number[]> {
  await using engine = await Engine.load(model, { kvCacheTokens: 1024, ...options });
  return (await engine.generate(kPrompt, kGreedy)).tokens;
}

it("loads and generates as from a directory; again without a Hub; a commit without asking", async () => {
  const { hub } = place;
  const expected = await tokensOf(kDemo);
  const seen: LoadProgress[] = [];
  expect(await tokensOf(hub.id, { onProgress: (one: LoadProgress) => seen.push(one) })).toEqual(expected);
  expect([...new Set(seen.map(({ phase }) => phase))]).toEqual([
    "download",
    "checkpoint",
    "weights",
    "ready",
  ]);
  expect(seen.filter(({ phase }) => phase === "download").every(({ file }) => file !== undefined)).toBe(true);
  hub.asked.length = 0;
  expect(await tokensOf(hub.id, { revision: hub.commit })).toEqual(expected);
  expect(hub.asked).toEqual([]);
  await hub.stop();
  expect(await tokensOf(hub.id)).toEqual(expected);
});

it("rejects with a typed error where there is neither a directory nor a Hub", async () => {
  await place.hub.stop();
  expect((await rejection(Engine.load("acme/none"))).code).toBe("HUB_ERROR");
  expect((await rejection(Engine.load("./acme/none"))).code).toBe("MODEL_NOT_FOUND");
});

it("works from the command line: nothing but the result on stdout, and the process ends by itself", async () => {
  const args = ["generate", place.hub.id, kPrompt.text, "--json", "-n", "8", "-t", "0"];
  const { code, stdout, stderr } = await runCli(args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(JSON.parse(stdout).tokens).toEqual(await tokensOf(kDemo));
});
