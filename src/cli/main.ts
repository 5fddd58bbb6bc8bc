#!/usr/bin/env node
/**
 * The `lockstep` command: registers the commands and turns what they throw into an exit code.
 *
 * Main thread. Must not do a command's work, and must start without the native addon: `--help` and `--version` work
 * where the addon cannot be loaded. Hence each command imports the engine when it runs.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 the reader of stdout went away.
 */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { registerBench } from "./bench.js";
import { registerChat } from "./chat.js";
import { registerDoctor } from "./doctor.js";
import { registerEmbed } from "./embed.js";
import { registerEval } from "./eval.js";
import { exitCodeOf } from "./failure.js";
import { registerGenerate } from "./generate.js";
import { registerRollout } from "./rollout.js";
import { registerScore } from "./score.js";

const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
const { version, description } = JSON.parse(manifest) as { version: string; description: string };

const program = new Command("lockstep").description(description).version(version).exitOverride();
registerGenerate(program);
registerChat(program);
registerScore(program);
registerEmbed(program);
registerRollout(program);
registerEval(program);
registerBench(program);
registerDoctor(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
}
