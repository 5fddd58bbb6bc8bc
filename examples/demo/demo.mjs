/**
 * Solves the 100 test tasks of the `home` domain with the demo checkpoint, all at once, through the public API only,
 * and prints one `name value` per line (README.md says what each means).
 *
 * Owns the run, the progress bar and the table. Exits with 1 when the run fails, or when a token differs from the
 * golden transcripts where it must not.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import cliProgress from "cli-progress";
import { Engine } from "lockstep";
import { homeDomain } from "lockstep/eval";
import { runEpisode } from "./episode.mjs";
import { compareWithGolden } from "./golden.mjs";

const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));

const domain = homeDomain({ data: pathOf(".") });
const tasks = domain.tasks("test");
const golden = JSON.parse(readFileSync(pathOf("golden.json"), "utf8"));

const engine = await Engine.load(pathOf("model"));
try {
  const { attempts, seconds } = await solveAll();
  const stats = engine.stats();
  const comparison = compareWithGolden(golden, attempts, promptOf);
  printTable(attempts, seconds, stats, comparison);
  reportDifferences(comparison.differences);
} finally {
  await engine.close();
}

async function solveAll() {
  // Draws on a terminal only, and on stderr, so that stdout is the table and nothing else.
  const bar = new cliProgress.SingleBar({
    format: "home [{bar}] {value}/{total} tasks",
    clearOnComplete: true,
    gracefulExit: false, // the library's handler would swallow the first Ctrl-C
    linewrap: true, // it would switch wrapping off, and a Ctrl-C would leave it so
  });
  bar.start(tasks.length, 0);
  const start = performance.now();
  try {
    const attempts = await Promise.all(
      tasks.map(async (task) => {
        const attempt = await runEpisode(engine, domain, task);
        bar.increment();
        return attempt;
      }),
    );
    return { attempts, seconds: (performance.now() - start) / 1000 };
  } finally {
    bar.stop();
  }
}

/** The prompt that the engine made of a turn, made again by hand; the engine's count must fit. */
function promptOf({ id, messages }, { messageCount, promptTokens }) {
  const options = { tools: domain.tools, addGenerationPrompt: true };
  const text = engine.tokenizer.applyChatTemplate(messages.slice(0, messageCount), options);
  const prompt = engine.tokenizer.encode(text);
  if (prompt.length !== promptTokens) {
    throw new Error(`${id}: the engine counted ${promptTokens} prompt tokens of ${prompt.length}`);
  }
  return prompt;
}

function printTable(attempts, seconds, stats, comparison) {
  const { tokens, tokensAgree, prompts, promptsAgree, differences } = comparison;
  const solved = attempts.filter((attempt) => attempt.success).length;
  const generated = attempts
    .flatMap((attempt) => attempt.turns)
    .reduce((n, turn) => n + turn.tokens.length, 0);
  const differing = differences.filter((difference) => Number.isFinite(difference.gap));
  const rows = {
    "pass@1": round(solved / attempts.length, 4),
    tasks: attempts.length,
    seconds: round(seconds, 3),
    tasks_per_second: round(attempts.length / seconds, 2),
    tokens_per_second: round(generated / seconds, 1),
    generated_tokens: generated,
    prompt_tokens: stats.promptTokens,
    prefix_cache_hit_rate: round(stats.cachedTokens / stats.promptTokens, 4),
    steps: stats.steps,
    mean_batch: round(generated / stats.steps, 2),
    max_batch: stats.maxBatch,
    peak_memory_mib: round(process.resourceUsage().maxRSS / 1024, 1),
    golden_tokens_agree: `${tokensAgree}/${tokens}`,
    golden_prompts_agree: `${promptsAgree}/${prompts}`,
    golden_steps_differ: differences.length,
    golden_steps_beyond_gap: differences.filter((difference) => !difference.allowed).length,
    golden_largest_gap: Math.max(0, ...differing.map((difference) => difference.gap)),
  };
  for (const [name, value] of Object.entries(rows)) console.log(`${name} ${value}`);
}

function reportDifferences(differences) {
  for (const { id, turn, step, what, gap, allowed } of differences) {
    const verdict = allowed ? "allowed" : "NOT ALLOWED";
    console.error(`${id}, turn ${turn}, step ${step}: ${what}, golden gap ${gap}: ${verdict}`);
  }
  if (differences.some((difference) => !difference.allowed)) process.exitCode = 1;
}

function round(value, digits) {
  return Number(value.toFixed(digits));
}
