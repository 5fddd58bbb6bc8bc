// The commands of tau2, as far as they need no model: replay, and what is refused before one is loaded.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { newFile } from "../eval/support.js";
import { runCli } from "./run-cli.js";

const shared = join(import.meta.dirname, "../../../shared/tau2");
const golden = join(shared, "golden");

describe.skipIf(!existsSync(shared))("lockstep eval tau2 (needs ../shared)", () => {
  const data = ["--tau2-bench", shared];
  const whole = [...data, "--tool-schemas", golden, "--agent-prompt", golden];

  it("replays recordings, told apart by content, and counts", async () => {
    const files = ["vec_calculate.jsonl", "vec_observation.jsonl"].map((file) => join(golden, file));
    const { code, stdout } = await runCli(["eval", "tau2", "replay", ...files, ...data, "--json"]);
    expect(code).toBe(0);
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toEqual([
      { file: files[0], records: 58, steps: 58, mismatches: 0, differences: [] },
      { file: files[1], records: 22, steps: 22, mismatches: 0, differences: [] },
    ]);
  });

  it("exits 1 where one differs or cannot be read, and names the first field", async () => {
    const [first] = readFileSync(join(golden, "vec_calculate.jsonl"), "utf8").split("\n");
    const file = newFile("recording.jsonl");
    writeFileSync(file, `${first!.replace("4.0", "5.0")}\n${first}\n{\n`);
    const { code, stdout } = await runCli(["eval", "tau2", "replay", file, ...data]);
    expect(code).toBe(1);
    expect(stdout).toContain("3 records, 2 steps, 2 mismatches");
    expect(stdout).toContain('line 1, content: expected "5.0", found "4.0"');
    expect(stdout).toContain("line 3: expected a JSON object");
  });

  it.each<[string, string[], RegExp]>([
    [
      "an unknown domain",
      [...whole, "--domains", "airlin"],
      /a domain of tau2-bench but received 'airlin': did you mean airline\?/,
    ],
    ["no data", ["--tau2-bench", golden], /cannot read .*tasks\.json.*expected a tau2-bench checkout/],
    ["no sources", data, /cannot read .*gym_agent\.py/],
    ["no schemas", [...data, "--tool-schemas", shared], /cannot read .*schemas_airline\.json/],
    [
      "no prompt",
      [...data, "--tool-schemas", golden, "--agent-prompt", shared],
      /cannot read .*system_prompt_airline\.txt/,
    ],
    ["no key", whole, /The user's endpoint needs a key: set OPENAI_API_KEY/],
    [
      "no recordings",
      [...whole, "--user", "recorded", "--user-recordings", "none.jsonl"],
      /none\.jsonl cannot be read/,
    ],
    [
      "a user of recordings without any",
      [...whole, "--user", "recorded"],
      /Expected recordings for the user/,
    ],
    ["no checkout", [], /required option '--tau2-bench <directory>' not specified/],
  ])("refuses %s before a model is loaded", async (_what, flags, message) => {
    const { code, stderr } = await runCli(["eval", "tau2", "no-such-model", ...flags], {
      env: { OPENAI_API_KEY: "" },
    });
    expect(stderr).toMatch(message);
    expect(code).not.toBe(0);
  });
});
