/**
 * `lockstep bench MODEL`: prefill and decode speeds beside the floors of this machine, measured in the same run.
 *
 * Owns the command, the order of the work and the output; bench/work.ts times, bench/roofline.ts knows the floors.
 * Main thread; uses nothing of the package that a user could not. Must not report a figure whose rounds disagree on a
 * token.
 */
import { createHash } from "node:crypto";
import { type Command, Option } from "commander";
import type { DoctorReport, Engine, Floors } from "../index.js";
import {
  type Cost,
  decodeStepCost,
  type Floor,
  floorOf,
  prefillCost,
  readShape,
  type Shape,
} from "./bench/roofline.js";
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
  json?: true;
}

interface Work {
  kind: "prefill" | "decode";
  sequences: number;
  promptTokens: number;
  newTokens: number;
  /** The least that one prompt, or one decode step, costs; and the tokens that it gets done. */
  cost: Cost;
  costTokens: number;
  run(engine: Engine, signal: AbortSignal): Promise<Timing>;
}

interface Figure {
  tokensPerSecond: number; // median of the rounds
  min: number;
  max: number;
  sha256: string;
}

/** What a figure is held against. */
interface Ceiling {
  floors: Floors;
  limit: Floor["limit"];
  tokensPerSecond: number;
}

const STEP_TOKENS = 512; // of a step, unless more sequences than that decode at once
const HELP = `
Random prompts, greedy, no end of sequence, no prefix cache. One round that is not counted, then the median of --rounds.
prefill: prompt tokens per second until the first output token. decode: output tokens per second of all sequences
together, from the last one's first token on.

The floor is what the machine allows: the bytes and FLOPs that the work cannot do without (from config.json, see
src/cli/bench/roofline.ts) at the read bandwidth (GB/s) and BF16 rate (GFLOP/s) of the same threads, measured before and
after it: the better counts. A model that fits in the processor's caches is not bound by the bandwidth of memory and may
exceed its floor.

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
    .option("--json", "write one JSON object per figure instead of a table")
    .addHelpText("after", HELP)
    .action((model: string, flags: BenchFlags) => bench(model, flags, program.version() ?? "unknown"));
}

const list = (flags: string, text: string, value: number[]) =>
  new Option(flags, text).argParser(parsePositiveIntegers).default(value, value.join(","));
const count = (flags: string, text: string, value: number) =>
  new Option(flags, text).argParser(parsePositiveInteger).default(value);

async function bench(model: string, flags: BenchFlags, version: string) {
  const { doctor, LockstepError, measureFloors } = await import("../index.js");
  if (flags.device !== undefined && flags.device !== "cpu")
    throw new LockstepError(
      "NOT_SUPPORTED",
      "Expected cpu for --device: the floors beside the figures are the CPU's",
    );
  const machine = doctor();
  const threads = flags.threads ?? machine.threads;
  const settings = loadSettings(flags, threads);
  using interruption = watchInterruption();
  const { signal } = interruption;
  try {
    await using engine = await loadEngine(model, { ...loadOptionsOf(flags), ...settings, signal });
    const tooLong = beyondContext(flags, engine.maxContext);
    if (tooLong) throw new LockstepError("PROMPT_TOO_LONG", tooLong);
    const shape = await readShape(engine.directory);
    const report = flags.json ? jsonReport(model, shape, settings, machine, version) : tableReport;
    let before = await measureFloors({ threads });
    if (!flags.json) process.stdout.write(tableHead(before, shape));
    for (const work of planOf(flags, settings.maxBatchTokens, shape)) {
      const figure = await measure(work, engine, flags.rounds, signal);
      const after = await measureFloors({ threads });
      process.stdout.write(report(work, figure, ceilingOf(work, before, after)));
      before = after;
    }
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
  const perSequence = context + tokens + prefillSteps + 16; // a block that is not full
  return {
    device: "cpu" as const,
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
    };
  };
  const ofBatch = (sequences: number): Work => {
    const prompts = randomPrompts(sequences, context, shape.vocab);
    const cost = decodeStepCost(shape, sequences, context + tokens / 2); // half way
    return {
      ...{ kind: "decode", sequences, promptTokens: context, newTokens: tokens, cost, costTokens: sequences },
      run: (engine, signal) => timeDecode(engine, prompts, tokens, signal),
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
function ceilingOf({ cost, costTokens }: Work, before: Floors, after: Floors): Ceiling {
  const floors = {
    ...after,
    readBytesPerSecond: Math.max(before.readBytesPerSecond, after.readBytesPerSecond),
    flopsPerSecond: Math.max(before.flopsPerSecond, after.flopsPerSecond),
  };
  const { limit, seconds } = floorOf(cost, floors);
  return { floors, limit, tokensPerSecond: costTokens / seconds };
}

const nameOf = ({ kind, sequences, promptTokens }: Work) =>
  kind === "prefill"
    ? `prefill, ${promptTokens} tokens`
    : `decode, batch ${sequences} at ${promptTokens} tokens`;

function tableHead({ computePath, threads }: Floors, shape: Shape): string {
  const { bytes } = decodeStepCost(shape, 1, 0);
  return [
    `${computePath}, threads: ${threads}, weights read for a token: ${(bytes / 1e6).toFixed(1)} MB\n`,
    row("work", "tok/s", "min", "max", "floor", "%", "limit", "GB/s", "GFLOP/s"),
  ].join("\n");
}

function tableReport(work: Work, { tokensPerSecond, min, max }: Figure, ceiling: Ceiling): string {
  const { readBytesPerSecond, flopsPerSecond } = ceiling.floors;
  const rates = [tokensPerSecond, min, max, ceiling.tokensPerSecond].map((rate) => rate.toFixed(1));
  const limits = [readBytesPerSecond / 1e9, flopsPerSecond / 1e9].map((rate) => rate.toFixed(1));
  return row(nameOf(work), ...rates, percent(tokensPerSecond, ceiling), ceiling.limit, ...limits);
}

function row(name: string, ...cells: string[]): string {
  return `${name.padEnd(30)}${cells.map((cell) => cell.padStart(10)).join("")}\n`;
}

function percent(value: number, { tokensPerSecond }: Ceiling): string {
  return ((100 * value) / tokensPerSecond).toFixed(1);
}

/** Each line stands alone: what was measured, on what, with what. */
function jsonReport(model: string, shape: Shape, settings: object, machine: DoctorReport, lockstep: string) {
  const { cpu, platform, physicalCores, node } = machine;
  return (work: Work, figure: Figure, ceiling: Ceiling): string => {
    const { kind, sequences, promptTokens, newTokens, cost } = work;
    const { computePath, threads, readBytesPerSecond, flopsPerSecond, bufferBytes } = ceiling.floors;
    const line = {
      ...{ kind, sequences, promptTokens, newTokens },
      tokensPerSecond: { median: figure.tokensPerSecond, min: figure.min, max: figure.max },
      floor: {
        tokensPerSecond: ceiling.tokensPerSecond,
        percent: Number(percent(figure.tokensPerSecond, ceiling)),
        limit: ceiling.limit,
        ...cost,
      },
      sha256: figure.sha256,
      date: new Date().toISOString(),
      machine: { cpu, platform, physicalCores },
      versions: { lockstep, node },
      ...{ computePath, threads, settings },
      floors: { readBytesPerSecond, flopsPerSecond, bufferBytes },
      model: { name: model, ...shape },
    };
    return `${JSON.stringify(line)}\n`;
  };
}
