/**
 * `lockstep bench MODEL`: prefill and decode speeds beside the floors of this machine, measured in the same run.
 *
 * Owns the command and the order of the work; bench/work.ts times, bench/roofline.ts knows the floors, bench/report.ts
 * writes, bench/profile.ts runs what is profiled.
 * Main thread; uses nothing of the package that a user could not. Must not report a figure whose rounds disagree on a
 * token.
 */
import { createHash } from "node:crypto";
import { type Command, Option } from "commander";
import type { Engine, Floors, Profile } from "../index.js";
import { combine, LATE_STEPS, NO_STEPS, profileDecode, profilePrefill } from "./bench/profile.js";
import {
  type Ceiling,
  type Figure,
  jsonReport,
  nameOf,
  type Report,
  type Task,
  tableReport,
} from "./bench/report.js";
import { decodeStepCost, floorOf, prefillCost, readShape, type Shape } from "./bench/roofline.js";
import { randomPrompts, type Timing, timeDecode, timePrefill } from "./bench/work.js";
import { addLoadOptions, addModel, type LoadFlags, loadEngine, loadOptionsOf } from "./model.js";
import { parsePositiveInteger, parsePositiveIntegers } from "./numbers.js";
import { roundsBar, watchInterruption } from "./terminal.js";

interface BenchFlags extends LoadFlags {
  prefill: number[];
  decode: number[];
  context: number;
  tokens: number;
  rounds: number;
  profile?: true;
  json?: true;
}

interface Work extends Task {
  run(engine: Engine, signal: AbortSignal): Promise<Timing>;
  profile(engine: Engine, signal: AbortSignal): Promise<Profile>;
}

/** A figure, and the better of the floors before and after it. */
interface Measured {
  work: Work;
  figure: Figure;
  floors: Floors;
}

const STEP_TOKENS = 512; // of a step, unless more sequences than that decode at once
const HELP = `
Random prompts, greedy, no end of sequence, no prefix cache. One round that is not counted, then the median of --rounds.
prefill: prompt tokens per second until the first output token. decode: output tokens per second of all sequences
together, from the last one's first token on.

The floor is what the machine allows: the bytes and FLOPs that the work cannot do without (from config.json, see
src/cli/bench/roofline.ts) at the read bandwidth (GB/s) and BF16 rate (GFLOP/s) of the same threads, or of the GPU,
measured before and after it: the better counts. Two GPUs are taken to be alike. A model that fits in the processor's
caches is not bound by the bandwidth of memory and may exceed its floor.

--profile loads the model a second time and times every kernel (on the CPU: every verb of native/ops/ops.h) in the same
work: calls and microseconds a step, their share of the step, and what they reach of the two ceilings; the limit is the
one that allows less. The rest is what no kernel accounts for: the host, and what lies between kernels. On a GPU the
profiled kernels run one by one, each a little slower for its events, and the step is one that is not profiled: their sum
may exceed it. With several ranks, the kernels are those of the first one's device.

Ctrl-C ends the run; what was measured stays.`;

export function registerBench(program: Command): void {
  const command = addModel(program.command("bench"))
    .summary("measure speeds beside this machine's floors")
    .description("Measures prefill and decode speeds, and the bandwidth and FLOP floors beside them.")
    .addOption(list("--prefill <lengths>", "prompt lengths in tokens", [128, 512]))
    .addOption(list("--decode <batches>", "sequences decoded together", [1, 4, 16]))
    .addOption(count("--context <integer>", "prompt tokens of each decoded sequence", 128))
    .addOption(count("--tokens <integer>", "tokens decoded per sequence", 32))
    .addOption(count("--rounds <integer>", "rounds that count", 3));
  addLoadOptions(command)
    .option("--profile", "also time each kernel, beside the same floors")
    .option("--json", "write one JSON object per figure or profile instead of tables")
    .addHelpText("after", HELP)
    .action((model: string, flags: BenchFlags) => bench(model, flags, program.version() ?? "unknown"));
}

const list = (flags: string, text: string, value: number[]) =>
  new Option(flags, text).argParser(parsePositiveIntegers).default(value, value.join(","));
const count = (flags: string, text: string, value: number) =>
  new Option(flags, text).argParser(parsePositiveInteger).default(value);

async function bench(model: string, flags: BenchFlags, version: string) {
  const { doctor, LockstepError, measureFloors } = await import("../index.js");
  const machine = doctor();
  const threads = flags.threads ?? machine.threads;
  const settings = loadSettings(flags, threads);
  using interruption = watchInterruption();
  const { signal } = interruption;
  const load = (profile: boolean) =>
    loadEngine(model, { ...loadOptionsOf(flags), ...settings, profile, signal });

  const measureAll = async (): Promise<[Report, Measured[]]> => {
    await using engine = await load(false);
    const tooLong = beyondContext(flags, engine.maxContext);
    if (tooLong) throw new LockstepError("PROMPT_TOO_LONG", tooLong);
    const { devices } = engine;
    const floorsNow = () => measureFloors({ device: devices[0] as Floors["device"], threads });
    const shape = await readShape(engine.directory);
    const report = flags.json
      ? jsonReport({ name: model, ...shape }, { ...settings, devices }, machine, version)
      : tableReport(shape);
    const measured: Measured[] = [];
    let before = await floorsNow();
    process.stdout.write(report.head(before));
    for (const work of planOf(flags, settings.maxBatchTokens, shape)) {
      const figure = await measure(work, engine, flags.rounds, signal);
      const after = await floorsNow();
      const floors = better(before, after);
      process.stdout.write(report.figure(work, figure, ceilingOf(work, floors, new Set(devices).size)));
      measured.push({ work, figure, floors });
      before = after;
    }
    return [report, measured];
  };

  const profileAll = async (report: Report, measured: Measured[]): Promise<void> => {
    await using engine = await load(true);
    for (const { work, figure, floors } of measured) {
      const profile = await profileOf(work, engine, flags.rounds, signal);
      const steps = work.kind === "decode" ? 1 : profile.steps / flags.rounds; // of the work
      const stepSeconds =
        floors.device === "cpu"
          ? profile.seconds / profile.steps
          : work.costTokens / figure.tokensPerSecond / steps;
      process.stdout.write(report.profile(work, { profile, stepSeconds, floors }));
    }
  };

  try {
    const [report, measured] = await measureAll();
    if (flags.profile) await profileAll(report, measured);
  } catch (error) {
    if (error !== signal.reason) throw error; // the reason is the interruption's, no failure
  }
  if (interruption.exitCode !== undefined) process.exitCode = interruption.exitCode;
}

/** Which flags ask for more than the context holds, so that this is known before anything is measured. */
function beyondContext({ prefill, context, tokens }: BenchFlags, maxContext: number): string | undefined {
  const works = [
    { flags: "--prefill", length: Math.max(...prefill) },
    { flags: "--context and --tokens together", length: context + tokens },
  ];
  const tooLong = works.find(({ length }) => length + 1 > maxContext); // one more token is generated
  return (
    tooLong &&
    `Expected at most ${maxContext - 1} tokens for ${tooLong.flags} but received ${tooLong.length}: the context holds ${maxContext} tokens`
  );
}

/** Room for every sequence of the work at once, and for what early ones decode while late ones are prefilled. */
function loadSettings({ prefill, decode, context, tokens }: BenchFlags, threads: number) {
  const sequences = Math.max(...decode);
  const prefillSteps = sequences + Math.ceil((2 * sequences * context) / STEP_TOKENS);
  const perSequence = context + tokens + Math.max(prefillSteps, LATE_STEPS) + 16; // a block that is not full
  return {
    threads,
    prefixCache: false,
    maxBatchTokens: Math.max(STEP_TOKENS, 2 * sequences),
    maxSequences: sequences,
    kvCacheTokens: Math.max(sequences * perSequence, Math.max(...prefill) + 16),
  };
}

function planOf({ prefill, decode, context, tokens }: BenchFlags, stepTokens: number, shape: Shape): Work[] {
  const ofPrompt = (length: number): Work => {
    const [prompt] = randomPrompts(1, length, shape.vocab);
    const cost = prefillCost(shape, length, stepTokens);
    return {
      ...{ kind: "prefill", sequences: 1, promptTokens: length, newTokens: 1, cost, costTokens: length },
      run: (engine, signal) => timePrefill(engine, prompt!, signal),
      profile: (engine, signal) => profilePrefill(engine, prompt!, signal),
    };
  };
  const ofBatch = (sequences: number): Work => {
    const prompts = randomPrompts(sequences, context, shape.vocab);
    const cost = decodeStepCost(shape, sequences, context + tokens / 2); // half way
    return {
      ...{ kind: "decode", sequences, promptTokens: context, newTokens: tokens, cost, costTokens: sequences },
      run: (engine, signal) => timeDecode(engine, prompts, tokens, signal),
      profile: (engine, signal) => profileDecode(engine, prompts, tokens, signal),
    };
  };
  return [...prefill.map(ofPrompt), ...decode.map(ofBatch)];
}

async function measure(work: Work, engine: Engine, rounds: number, signal: AbortSignal): Promise<Figure> {
  using bar = roundsBar(nameOf(work), rounds + 1);
  const rates: number[] = [];
  const hashes = new Set<string>();
  for (let round = 0; round <= rounds; ++round) {
    const { tokens, seconds, output } = await work.run(engine, signal);
    if (round > 0) rates.push(tokens / seconds); // the first one warms up
    hashes.add(createHash("sha256").update(JSON.stringify(output)).digest("hex"));
    bar.increment();
  }
  const [sha256, ...others] = hashes;
  if (others.length > 0) throw new Error(`${nameOf(work)}: the rounds produced different tokens`);
  rates.sort((a, b) => a - b);
  const middle = (rates[(rates.length - 1) >> 1]! + rates[rates.length >> 1]!) / 2;
  return { tokensPerSecond: middle, min: rates[0]!, max: rates.at(-1)!, sha256: sha256! };
}

/** The better of two measurements counts: a ceiling measured while the host was busy is none. */
/** The kernels of the rounds that count. */
async function profileOf(work: Work, engine: Engine, rounds: number, signal: AbortSignal): Promise<Profile> {
  using bar = roundsBar(nameOf(work), rounds + 1);
  let total = NO_STEPS;
  for (let round = 0; round <= rounds; ++round) {
    const profile = await work.profile(engine, signal);
    if (round > 0) total = combine(total, profile, 1); // the first one warms up
    bar.increment();
  }
  return total;
}

function better(a: Floors, b: Floors): Floors {
  return {
    ...b,
    readBytesPerSecond: Math.max(a.readBytesPerSecond, b.readBytesPerSecond),
    flopsPerSecond: Math.max(a.flopsPerSecond, b.flopsPerSecond),
  };
}

/** Of `devices` devices that are alike. */
function ceilingOf({ cost, costTokens }: Work, floors: Floors, devices: number): Ceiling {
  const together = {
    ...floors,
    readBytesPerSecond: devices * floors.readBytesPerSecond,
    flopsPerSecond: devices * floors.flopsPerSecond,
  };
  const { limit, seconds } = floorOf(cost, together);
  return { floors: together, limit, tokensPerSecond: costTokens / seconds };
}
