/** `lockstep eval`: suites of tasks, and reports of them. Registers its commands; main thread. */
import type { Command } from "commander";
import { registerEvalHome } from "./eval/home.js";
import { registerEvalReport } from "./eval/report.js";

export function registerEval(program: Command): void {
  const command = program
    .command("eval")
    .description("evaluates models on suites of tasks, and compares reports");
  registerEvalHome(command);
  registerEvalReport(command);
}
