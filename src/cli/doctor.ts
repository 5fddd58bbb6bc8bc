/**
 * `lockstep doctor`: what this machine and this build offer.
 *
 * Owns the layout of the report; src/doctor.ts owns the facts. Main thread.
 */
import type { Command } from "commander";
import type { DoctorReport } from "../doctor.js";

export function registerDoctor(program: Command): void {
  program
    .command("doctor")
    .summary("show what this machine and this build offer")
    .description(
      "Shows the machine as the engine sees it: compute paths, threads, memory, and why there is no CUDA.",
    )
    .option("--json", "write one JSON object instead of text")
    .action(async ({ json }: { json?: true }) => {
      const { doctor } = await import("../doctor.js");
      const report = doctor();
      process.stdout.write(json ? `${JSON.stringify(report)}\n` : layOut(report));
    });
}

/** A device, and whose memory it reaches. */
function describe(
  { name, computeCapability, totalBytes, peers }: DoctorReport["cuda"]["devices"][number],
  index: number,
): string {
  const reach = peers.flatMap((peer, i) => (i === index ? [] : [`cuda:${i} ${peer ? "yes" : "no"}`]));
  const access = reach.length === 0 ? "" : `; peer access: ${reach.join(", ")}`;
  const staged = peers.every(Boolean) ? "" : " (tensor parallelism there goes through host memory)";
  return `${name}, sm_${computeCapability.replace(".", "")}, ${(totalBytes / 2 ** 30).toFixed(1)} GiB${access}${staged}`;
}

function layOut(report: DoctorReport): string {
  const { physicalCores, threads, computePaths, computePath, missingComputePath, cuda } = report;
  const missing =
    missingComputePath === undefined ? "" : `: LOCKSTEP_COMPUTE_PATH=${missingComputePath} is not available`;
  const rows = {
    node: report.node,
    platform: report.platform,
    cpu: report.cpu,
    cores: `${physicalCores} physical; ${threads} compute threads by default`,
    memory: `${(report.availableMemoryBytes / 2 ** 30).toFixed(1)} GiB available`,
    "compute path": `${computePath}${missing} (of ${computePaths.join(", ") || "none"})`,
    cuda: cuda.available ? `${cuda.devices.length} devices` : `not available: ${cuda.reason}`,
    ...Object.fromEntries(cuda.devices.map((device, i) => [`cuda:${i}`, describe(device, i)])),
    addon: report.addonError ?? report.addon,
  };
  const width = Math.max(...Object.keys(rows).map((name) => name.length));
  return Object.entries(rows)
    .map(([name, value]) => `${name.padEnd(width)}  ${value}\n`)
    .join("");
}
