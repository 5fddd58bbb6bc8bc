import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { type DomainName, Tau2Data } from "../../../src/eval/tau2/data.js";

const shared = join(import.meta.dirname, "../../../../shared/tau2");

describe.skipIf(!existsSync(shared))("a checkout's data (needs ../shared)", () => {
  function copy(change: (root: string) => void): string {
    const directory = mkdtempSync(join(tmpdir(), "lockstep-tau2-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const [from, to] = [shared, directory].map((root) => join(root, "data/tau2"));
    cpSync(join(from!, "domains/airline"), join(to!, "domains/airline"), { recursive: true, mode: 0 });
    cpSync(join(from!, "user_simulator"), join(to!, "user_simulator"), { recursive: true });
    rmSync(join(to!, "domains/airline/policy.md"));
    change(join(to!, "domains/airline"));
    return directory;
  }

  it("has the tasks of each split in the order of the file", () => {
    const domain = new Tau2Data(shared).domain("retail");
    expect([...domain.splits].map(([name, ids]) => [name, ids.length])).toEqual([
      ["train", 74],
      ["test", 40],
      ["base", 114],
    ]);
    expect(domain.taskIds.slice(0, 3)).toEqual(["0", "1", "2"]);
  });

  it("is refused where a file differs, with both hashes, unless that is asked for", () => {
    const directory = copy((root) => writeFileSync(join(root, "policy.md"), "Be kind."));
    expect(() => new Tau2Data(directory).domain("airline")).toThrow(
      /airline\/policy\.md is not the file that results are compared on: expected SHA-256 10dc0525[0-9a-f]+, found [0-9a-f]{64}$/,
    );
    const data = new Tau2Data(directory, { allowOtherData: true });
    expect(data.domain("airline").policy).toBe("Be kind.");
    expect([...data.differing]).toEqual(["domains/airline/policy.md"]);
  });

  it.each<[string, string, string, RegExp]>([
    ["no JSON", "tasks.json", "[", /tasks\.json is not JSON: Expecting value: line 1 column 2/],
    ["no list of tasks", "tasks.json", "{}", /tasks\.json: expected a list of tasks, each with an id/],
    [
      "a database of another form",
      "db.json",
      '{"flights": {}}',
      /db\.json is not the database that was expected: 2 validation errors for FlightDB/,
    ],
  ])("is refused with %s", (_what, file, text, message) => {
    const directory = copy((root) => {
      writeFileSync(join(root, "policy.md"), "");
      writeFileSync(join(root, file), text);
    });
    expect(() => new Tau2Data(directory, { allowOtherData: true }).domain("airline")).toThrow(message);
  });

  it("names a file that is missing, and the nearest domain", () => {
    expect(() => new Tau2Data(copy(() => {})).domain("airline")).toThrow(/cannot read .*policy\.md: ENOENT/);
    expect(() => new Tau2Data(shared).domain("telcom" as DomainName)).toThrow(/did you mean telecom\?/);
  });
});
