/** `lockstep eval home MODEL`: the demo's smart home, 100 tasks of tool use. Owns the command's options. Main thread. */
import type { Command } from "commander";
import { addModel } from "../model.js";
import { addEvalOptions, type EvalFlags, evaluate } from "./options.js";

interface HomeFlags extends EvalFlags {
  data?: string;
}

export function registerEvalHome(program: Command): void {
  const command = addModel(program.command("home"))
    .summary("the demo's smart home: 100 tasks of tool use")
    .description("Evaluates a model on the demo's domain: does the home end in the right state?")
    .option("--data <directory>", "tasks.jsonl, system.txt and tools.json (default: the package's own)");
  addEvalOptions(command).action(async (model: string, { data, ...flags }: HomeFlags, command: Command) => {
    const { homeDomain } = await import("../../eval/index.js");
    const domain = homeDomain({ data });
    await evaluate(model, flags, command, () => [domain]);
  });
}
