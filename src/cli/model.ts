/**
 * Owns the checkpoint on the command line: the argument that names it, the options to load it with, and
 * loading it behind a bar.
 *
 * Main thread. Imports the engine when a command runs, so that `--help` works without the addon.
 */
import type { Command } from "commander";
import type { Engine, LoadOptions } from "../index.js";
import { parseInteger } from "./numbers.js";
import { loadingBar } from "./terminal.js";

export interface LoadFlags {
  revision?: string;
  threads?: number;
  device?: string | string[];
  tensorParallel?: number;
}

export function addModel(command: Command): Command {
  return command.argument("<model>", "directory of a Qwen3 checkpoint, or a Hub id such as Qwen/Qwen3-0.6B");
}

export function addLoadOptions(command: Command): Command {
  return command
    .option("--revision <name>", "of a Hub id: branch, tag or commit (default: main)")
    .option("--threads <integer>", "compute threads (default: see lockstep doctor)", parseInteger)
    .option(
      "--device <name>",
      "auto, cpu, cuda, or one name a rank: cuda:0,cuda:1 (default: auto)",
      parseDevice,
    )
    .option(
      "--tensor-parallel <integer>",
      "ranks (default: 1, or as many as devices are named)",
      parseInteger,
    );
}

const parseDevice = (text: string): string | string[] => (text.includes(",") ? text.split(",") : text);

/** Engine.load checks what they hold. */
export const loadOptionsOf = ({ revision, threads, device, tensorParallel }: LoadFlags): LoadOptions => ({
  revision,
  threads,
  device: device as LoadOptions["device"],
  tensorParallel,
});

export async function loadEngine(model: string, options: LoadOptions): Promise<Engine> {
  const { Engine } = await import("../index.js");
  using bar = loadingBar();
  return await Engine.load(model, { ...options, onProgress: (progress) => bar.update(progress) });
}
