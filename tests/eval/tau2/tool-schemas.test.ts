import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { Tau2Data } from "../../../src/eval/tau2/data.js";
import { ownPrompt, promptFromFiles } from "../../../src/eval/tau2/prompt.js";
import {
  type DomainSchemas,
  deriveToolSchemas,
  readToolSchemas,
} from "../../../src/eval/tau2/tool-schemas.js";
import { dumps } from "../../../src/python/json.js";

const fixtures = join(import.meta.dirname, "fixtures");
const checkout = join(fixtures, "checkout");
const shared = join(import.meta.dirname, "../../../../shared/tau2");

/** In the order of keys that a prompt shows. */
const shown = ({ agent, user }: DomainSchemas) =>
  [...agent, ...user].map(
    ({ name, description, parameters }) => `${name}\n${description}\n${dumps(parameters, { indent: 1 })}`,
  );

function changed(file: string, change: (text: string) => string): string {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-tau2-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  cpSync(checkout, directory, { recursive: true });
  const path = join(directory, "src/tau2", file);
  writeFileSync(path, change(readFileSync(path, "utf8")));
  return directory;
}

describe("tool schemas from Python sources", () => {
  // fixtures/schemas_airline.json: pydantic 2.13 and docstring_parser 0.18 on the same files
  it("are pydantic's", () => {
    expect(shown(deriveToolSchemas(checkout, "airline"))).toEqual(
      shown(readToolSchemas(fixtures, "airline")),
    );
  });

  it.each([
    ["domains/airline/tools.py", "def find(self", "def find(self,,", /tools\.py:\d+: expected Python, found/],
    [
      "domains/airline/tools.py",
      "most: int",
      "most: Set[int]",
      /tools\.py:47: expected a type of List, .*found "Set\[int\]"/,
    ],
    [
      "domains/airline/tools.py",
      "most: int = 3",
      "most: int = three()",
      /tools\.py:47: expected a literal, found "three\(\)"/,
    ],
    [
      "domains/airline/tools.py",
      "most: int = 3",
      "most: int = LIMIT",
      /tools\.py:47: expected a literal, found "LIMIT"/,
    ],
    [
      "domains/airline/tools.py",
      "Dict[str, Any]",
      "Dict[str]",
      /tools\.py:47: expected a type with 2 in its brackets, found "Dict\[str\]"/,
    ],
    [
      "domains/airline/tools.py",
      "colour: Colour",
      "colour: Color",
      /tools\.py:20: expected a type that the sources define, found "Color"/,
    ],
    ["gym/gym_agent.py", "def done", "def finish", /expected a function done in/],
  ])("say where %s is not understood", (file, from, to, message) => {
    const directory = changed(file, (text) => text.replace(from, to));
    expect(() => deriveToolSchemas(directory, "airline")).toThrow(message);
  });

  it("name a file that is missing", () => {
    expect(() => deriveToolSchemas(fixtures, "airline")).toThrow(
      /cannot read .*gym_agent\.py.*expected a source file/,
    );
    expect(() => readToolSchemas(checkout, "airline")).toThrow(
      /cannot read .*schemas_airline\.json.*expected \{ "agent"/,
    );
  });
});

const original = process.env.LOCKSTEP_TAU2_BENCH ?? "";

describe.skipIf(!existsSync(original) || !existsSync(shared))(
  "tool schemas of a tau2-bench checkout (needs LOCKSTEP_TAU2_BENCH and ../shared)",
  () => {
    it.each(["airline", "retail", "telecom"] as const)("%s: are the original's, key by key", (name) => {
      expect(shown(deriveToolSchemas(original, name))).toEqual(
        shown(readToolSchemas(join(shared, "golden"), name)),
      );
    });
  },
);

describe.skipIf(!existsSync(shared))("what the agent is told (needs ../shared)", () => {
  const golden = join(shared, "golden");
  const data = new Tau2Data(shared);

  it.each(["airline", "retail", "telecom"] as const)("%s: the original's files are known as such", (name) => {
    const prompt = promptFromFiles(golden, name);
    expect(prompt.original).toBe(true);
    const own = ownPrompt(data.domain(name), readToolSchemas(golden, name).agent);
    expect(own.original).toBe(false);
    // the tools are written as the original writes them, and the policy is the data's
    const [, tools] = /\n# Tools\n\n(\[\n[\s\S]*\n\])\n/.exec(own.system)!;
    expect(prompt.system).toContain(`\n${tools}\n`);
    expect(own.system).toContain(data.domain(name).policy);
    expect(prompt.system).toContain(data.domain(name).policy);
  });
});
