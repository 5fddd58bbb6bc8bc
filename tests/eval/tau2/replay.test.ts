// Every recording of the original is played again: what it said, did, stored and was graded with, byte for byte.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Tau2Data } from "../../../src/eval/tau2/data.js";
import { replay } from "../../../src/eval/tau2/replay.js";

const shared = join(import.meta.dirname, "../../../../shared/tau2");
const golden = (file: string) => readFileSync(join(shared, "golden", file), "utf8");

describe.skipIf(!existsSync(shared))("recordings (need ../shared)", () => {
  const data = new Tau2Data(shared);

  it.each([
    ["episodes_train_gold.jsonl", 178, 995],
    ["episodes_train_perturbed.jsonl", 356, 2295],
    ["vec_tool_errors.jsonl", 1410, 1410],
    ["vec_random_train.jsonl", 4503, 4500],
    ["vec_calculate.jsonl", 58, 58],
    ["vec_actions.jsonl", 41, 41],
    ["vec_observation.jsonl", 22, 22],
    ["vec_float.jsonl", 1016, 1016],
  ])("%s", { timeout: 120_000 }, async (file, records, steps) => {
    expect(await replay(golden(file), data)).toEqual({ records, steps, mismatches: [] });
  });

  it("begins where the original does", () => {
    const { initial_hashes } = JSON.parse(golden("meta.json"));
    for (const name of ["airline", "retail", "telecom"] as const) {
      const { db, userDb } = data.domain(name).fresh().hashes();
      expect({ db, user_db: userDb }).toEqual(initial_hashes[name]);
    }
  });

  // The gate has a canary: one changed character of any field that is compared is found, and named.
  const [line] = !existsSync(shared)
    ? []
    : golden("episodes_train_perturbed.jsonl")
        .split("\n")
        .filter((one) => one.includes('"drop"'));
  it.each([
    ["init_db_hash", "0"],
    ["reset_followup", []],
    ["steps[1].observation", "tool: nothing"],
    ["steps[0].db_hash", "0"],
    ["steps[0].followup", []],
    ["reward_info", {}],
    ["partial", [0.25, {}]],
    ["termination_reason", "user_stop"],
    ["orchestrator_steps", 1],
  ])("finds a difference in %s", async (field, value) => {
    const episode = JSON.parse(line!);
    const [, step, name] = /^(?:steps\[(\d)\]\.)?(\w+)$/.exec(field)!;
    const holder = step === undefined ? episode : episode.steps[step];
    expect(holder).toHaveProperty(name!);
    holder[name!] = value;
    const { mismatches } = await replay(`${JSON.stringify(episode)}\n`, data);
    expect(mismatches.map((mismatch) => mismatch.field)).toEqual([field]);
  });

  it("goes on after a line that cannot be read or played", async () => {
    const lines = ["{", "[]", '{"a": 1}', '{"steps": [], "domain": "bank"}', line];
    const { records, mismatches } = await replay(lines.join("\n"), data);
    expect(records).toBe(5);
    expect(mismatches.map(({ line: number }) => number)).toEqual([1, 2, 3, 4]);
  });
});
