/** `lockstep eval tau2 MODEL` and `lockstep eval tau2 replay FILE…`. Owns these commands' options. Main thread. */
import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import type { DomainName, Tau2Data } from "../../eval/tau2/data.js";
import type { User } from "../../eval/tau2/user/user.js";
import type { Engine } from "../../index.js";
import { addModel, loadEngine } from "../model.js";
import { parseInteger, parseNumber } from "../numbers.js";
import { addEvalOptions, type EvalFlags, evaluate } from "./options.js";

interface DataFlags {
  tau2Bench?: string;
  allowOtherData?: true;
}

interface Tau2Flags extends EvalFlags, DataFlags {
  domains: DomainName[];
  toolSchemas?: string;
  agentPrompt?: string;
  user: "endpoint" | "engine" | "recorded";
  userModel?: string;
  userBaseUrl?: string;
  userTemperature?: number;
  userConcurrency?: number;
  userPrice?: number[];
  userToolCalls?: "parsed" | "speech";
  userRecordings?: string[];
}

const kCheckout = "--tau2-bench <directory>";

/** Not "required" in commander's sense: the replay command would need its parent's, too. */
const addData = (command: Command) =>
  command
    .option(kCheckout, "a tau2-bench checkout (its data/tau2 is read); required")
    .option("--allow-other-data", "take data files that differ from the release's; not comparable then");

async function openData({ tau2Bench, ...options }: DataFlags, command: Command): Promise<Tau2Data> {
  if (tau2Bench === undefined) command.error(`error: required option '${kCheckout}' not specified`);
  const { Tau2Data } = await import("../../eval/tau2/index.js");
  return new Tau2Data(tau2Bench, options);
}

const HELP = `
The user is played by a model behind an OpenAI-compatible endpoint (its key in OPENAI_API_KEY), by a model in this process (--user
engine: the one that is evaluated, or with --user-model another), or by recordings. Tool schemas are derived from the checkout's
Python sources. The agent's prompt is in our own words unless --agent-prompt names a folder with the original's: only numbers
made with those are comparable with published ones, and the report says which it was.`;

export function registerEvalTau2(program: Command): void {
  const command = addData(addModel(program.command("tau2")))
    .summary("tau2-bench: airline, retail and telecom customer support")
    .description(
      "Evaluates a model on tau2-bench in this process: environments, user and grading as the original's.",
    )
    .option("--domains <names>", "by comma", (text) => text.split(",").map((name) => name.trim()), [
      "airline",
      "retail",
      "telecom",
    ])
    .option("--tool-schemas <directory>", "schemas_{domain}.json instead of the checkout's sources")
    .option(
      "--agent-prompt <directory>",
      "system_prompt_{domain}.txt and repair_message.txt instead of our own wording",
    )
    .addOption(
      new Option("--user <kind>", "who plays the user")
        .choices(["endpoint", "engine", "recorded"])
        .default("endpoint"),
    )
    .option(
      "--user-model <model>",
      "the endpoint's model (default: gpt-4.1-mini), or a checkpoint for --user engine",
    )
    .option("--user-base-url <url>", "of the endpoint (default: OPENAI_BASE_URL, else OpenAI's)")
    .option("--user-temperature <number>", "default: 0.7", parseNumber)
    .option(
      "--user-concurrency <integer>",
      "requests to the endpoint at once, at most (default: 16)",
      parseInteger,
    )
    .option("--user-price <input,output>", "dollars per million tokens, to count the cost", (text) =>
      text.split(",").map(parseNumber),
    )
    .addOption(
      new Option("--user-tool-calls <how>", "of --user engine: made, or left as words for the agent").choices(
        ["parsed", "speech"],
      ),
    )
    .option("--user-recordings <files>", "by comma: recordings or a journal, for --user recorded", (text) =>
      text.split(","),
    );
  addEvalOptions(command)
    .addHelpText("after", HELP)
    .action(async (model: string, flags: Tau2Flags, command: Command) => {
      const { tau2Domain, tau2Setting } = await import("../../eval/tau2/index.js");
      const data = await openData(flags, command);
      // What can be wrong with files and the endpoint is found before a model is loaded.
      const settings = flags.domains.map((domain) => {
        const options = { ...flags, directory: flags.tau2Bench!, data, domain };
        return { ...options, setting: tau2Setting(options) };
      });
      const outside = flags.user === "engine" ? undefined : await outsideUser(flags);
      let second: Engine | undefined; // the user's, where it has one of its own
      try {
        await evaluate(model, flags, command, async (engine) => {
          if (outside === undefined && flags.userModel !== undefined)
            second = await loadEngine(flags.userModel, {});
          const user = outside ?? (await localUser(flags, second ?? engine, model));
          return settings.map((setting) => tau2Domain({ ...setting, user }));
        });
      } finally {
        await second?.close();
      }
    });
  registerReplay(command);
}

async function localUser(flags: Tau2Flags, engine: Engine, model: string): Promise<User> {
  const { engineUser } = await import("../../eval/tau2/index.js");
  const { userModel, userTemperature: temperature, userToolCalls: toolCalls } = flags;
  return engineUser({ engine, name: userModel ?? model, temperature, toolCalls });
}

async function outsideUser(flags: Tau2Flags): Promise<User> {
  const { openAiUser, recordedUser } = await import("../../eval/tau2/index.js");
  const { userModel, userTemperature: temperature, userPrice } = flags;
  if (flags.user === "recorded") return recordedUser(flags.userRecordings ?? []);
  const price = userPrice === undefined ? undefined : { input: userPrice[0]!, output: userPrice[1]! };
  const { userBaseUrl: baseUrl, userConcurrency: concurrency } = flags;
  return openAiUser({ model: userModel, baseUrl, temperature, concurrency, price });
}

interface ReplayFlags extends DataFlags {
  json?: true;
}

function registerReplay(tau2: Command): void {
  addData(tau2.command("replay"))
    .argument("<files...>", "recordings: episodes, tool vectors, journals of lockstep eval tau2")
    .summary("recordings against the environments")
    .description(
      "Plays recordings again and names the first field of each that differs. Exits 1 where one does.",
    )
    .option("--json", "one object a file: file, records, steps, mismatches, differences")
    .action(async (files: string[], _own: ReplayFlags, command: Command) => {
      const flags = command.optsWithGlobals<ReplayFlags>(); // commander gives options of both to the parent
      const data = await openData(flags, command);
      for (const file of files) if (!(await replayFile(file, data, flags))) process.exitCode = 1;
    });
}

/** Whether all of it was reproduced. */
async function replayFile(file: string, data: Tau2Data, { json }: ReplayFlags): Promise<boolean> {
  const { replay } = await import("../../eval/tau2/replay.js");
  const { records, steps, mismatches } = await replay(readFileSync(file, "utf8"), data);
  const summary = { file, records, steps, mismatches: mismatches.length };
  if (json) process.stdout.write(`${JSON.stringify({ ...summary, differences: mismatches })}\n`);
  else {
    process.stdout.write(`${file}: ${records} records, ${steps} steps, ${mismatches.length} mismatches\n`);
    for (const { line, field, expected, found } of mismatches)
      process.stdout.write(
        `  line ${line}${field && `, ${field}`}: expected ${cut(expected)}, found ${cut(found)}\n`,
      );
  }
  return mismatches.length === 0;
}

const cut = (text: string) => (text.length <= 200 ? text : `${text.slice(0, 200)}…`);
