/** `lockstep doctor` and the options of the program itself. */
import { readFileSync } from "node:fs";
import { expect, it, vi } from "vitest";
import type { DoctorReport } from "../../src/index.js";
import { runCli } from "./run-cli.js";

vi.setConfig({ testTimeout: 60_000 });

it("reports the machine as JSON", async () => {
  const { code, stdout, stderr } = await runCli(["doctor", "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const report = JSON.parse(stdout) as DoctorReport;
  expect(report.node).toBe(process.version);
  expect(report.computePaths).toContain("portable");
  expect(report.computePaths).toContain(report.computePath);
  expect(report.threads).toBeGreaterThanOrEqual(1);
  expect(report.physicalCores).toBeGreaterThanOrEqual(1);
  expect(report.addon).toMatch(/\.node$/);
  expect(report.cuda.available).toBe(false);
  expect(report.cuda.reason).not.toBe("");
});

it("does not claim a compute path that is not there", async () => {
  const env = { LOCKSTEP_COMPUTE_PATH: "quantum" };
  const report = JSON.parse((await runCli(["doctor", "--json"], { env })).stdout) as DoctorReport;
  expect(report).toMatchObject({ computePath: "none", missingComputePath: "quantum" });
  expect(report.computePaths).not.toContain("quantum");
  const { stdout } = await runCli(["doctor"], { env });
  expect(stdout).toMatch(
    /^compute path +none: LOCKSTEP_COMPUTE_PATH=quantum is not available \(of .*portable/m,
  );
});

it("says the same to people, one fact a line", async () => {
  const { code, stdout } = await runCli(["doctor"]);
  expect(code).toBe(0);
  for (const name of ["node", "platform", "cpu", "cores", "memory", "compute path", "cuda", "addon"])
    expect(stdout).toMatch(new RegExp(`^${name} +\\S`, "m"));
  expect(stdout).toMatch(/^cuda +not available: /m);
});

it("knows its version and its commands", async () => {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const { version } = JSON.parse(manifest) as { version: string };
  expect(await runCli(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  const { code, stdout } = await runCli(["--help"]);
  expect(code).toBe(0);
  for (const name of ["generate", "chat", "score", "bench", "doctor"])
    expect(stdout).toMatch(new RegExp(`^ +${name} \\[options\\] `, "m"));
});

it("refuses an unknown command with the nearest name", async () => {
  const { code, stderr } = await runCli(["generat"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/unknown command 'generat'[\s\S]*generate/);
});

it("shows its help when called without a command", async () => {
  const { code, stdout, stderr } = await runCli([]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(/^Usage: lockstep /);
});
