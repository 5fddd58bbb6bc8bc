/**
 * `lockstep embed MODEL [texts...]`: vectors of texts.
 *
 * Owns the command's options and output. Main thread; uses nothing of the package that a user could not.
 */
import { type Command, Option } from "commander";
import type { EmbedOptions, Engine } from "../index.js";
import { readFileText, readStandardInput } from "./input.js";
import { addLoadOptions, addModel, type LoadFlags, loadEngine, loadOptionsOf } from "./model.js";
import { parseInteger } from "./numbers.js";
import { watchInterruption } from "./terminal.js";

interface EmbedFlags extends LoadFlags {
  file?: string;
  pooling?: "last" | "mean" | "cls";
  dimensions?: number;
  instruct?: string;
  normalize: boolean;
  json?: true;
}

/** Texts under way at once. */
const kOpen = 256;

/** Texts that are compared with each other, at most: a line each, as wide as a terminal. */
const kCompared = 10;

const HELP = `
Each text gets the special tokens that the tokenizer puts around it, as Qwen3-Embedding expects. Queries take --instruct,
documents do not: embedded is then "Instruct: TASK", a new line and "Query:TEXT".

With --json each text becomes a line { "index", "text", "embedding" }, written as soon as it and those before it are done;
Ctrl-C ends the rest. For people there is a glimpse of each vector, and of up to ${kCompared} texts how near each is to each.`;

export function registerEmbed(program: Command): void {
  const command = addModel(program.command("embed"))
    .summary("vectors of texts")
    .description("Embeds texts: a vector each, whose cosine says how near two texts are.")
    .argument("[texts...]", 'the texts; "-" reads standard input, a text a line')
    .option("--file <path>", "embed the lines of a file instead")
    .addOption(
      new Option("--pooling <name>", "whose hidden state (default: last)").choices(["last", "mean", "cls"]),
    )
    .option("--dimensions <integer>", "keep so many leading numbers (default: all)", parseInteger)
    .option("--instruct <task>", "the texts are queries of this task")
    .option("--no-normalize", "do not scale to length 1");
  addLoadOptions(command)
    .option("--json", "write a JSON object a line instead of text")
    .addHelpText("after", HELP)
    .action(embed);
}

async function embed(model: string, given: string[], flags: EmbedFlags, command: Command) {
  const texts = await textsOf(given, flags, command);
  const { pooling, dimensions, instruct, normalize, json } = flags;
  using interruption = watchInterruption();
  const { signal } = interruption;
  try {
    await using engine = await loadEngine(model, { ...loadOptionsOf(flags), signal });
    const vectors: Float32Array[] = [];
    let index = 0;
    for await (const vector of inOrder(engine, texts, { pooling, dimensions, instruct, normalize, signal })) {
      const text = texts[index]!;
      if (json) process.stdout.write(`${JSON.stringify({ index, text, embedding: Array.from(vector) })}\n`);
      else process.stdout.write(glimpse(vector, text));
      if (index++ < kCompared) vectors.push(vector);
    }
    if (!json && index > 1 && index <= kCompared) process.stdout.write(layOutCosines(vectors));
  } catch (error) {
    if (error !== signal.reason) throw error; // the reason is the interruption's, no failure
  }
  if (interruption.exitCode !== undefined) process.exitCode = interruption.exitCode;
}

async function textsOf(given: string[], { file }: EmbedFlags, command: Command): Promise<string[]> {
  if (given.length > 0 && file !== undefined)
    command.error("error: texts were given twice: as arguments and as --file");
  if (file !== undefined) return linesOf(await readFileText(file));
  if (given.length === 0)
    command.error('error: no text: give some as arguments, --file, or "-" to read standard input');
  return given.length === 1 && given[0] === "-" ? linesOf(await readStandardInput()) : given;
}

const linesOf = (text: string): string[] => text.split(/\r?\n/);

/** Each vector once those before it are done. A failure names its text, where there are several. */
async function* inOrder(
  engine: Engine,
  texts: readonly string[],
  options: EmbedOptions,
): AsyncIterable<Float32Array> {
  const open: Promise<Float32Array>[] = [];
  let next = 0;
  for (let index = 0; index < texts.length; ++index) {
    for (; next < texts.length && open.length < kOpen; ++next) {
      const vector = engine.embed({ text: texts[next]! }, options);
      vector.catch(() => {}); // heard of when its turn comes
      open.push(vector);
    }
    try {
      yield await open.shift()!;
    } catch (error) {
      if (texts.length === 1 || options.signal?.aborted) throw error;
      const { message, code } = error as Error & { code?: string };
      throw Object.assign(new Error(`text ${index + 1}: ${message}`, { cause: error }), { code });
    }
  }
}

function glimpse(vector: Float32Array, text: string): string {
  const first = Array.from(vector.subarray(0, 4), (value) => value.toFixed(4).padStart(8)).join("");
  return `${first}${vector.length > 4 ? ` … (${vector.length})` : ""}  ${JSON.stringify(text.length > 60 ? `${text.slice(0, 59)}…` : text)}\n`;
}

function layOutCosines(vectors: Float32Array[]): string {
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  const cosine = (a: Float32Array, b: Float32Array) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const rows = vectors.map((a) => vectors.map((b) => cosine(a, b).toFixed(3).padStart(7)).join(""));
  return `cosines\n${rows.join("\n")}\n`;
}
