/** `lockstep eval report FILE…`: tables of one report, or what has changed from the first to each other. Main thread. */
import type { Command } from "commander";
import { compareReports } from "../../eval/compare.js";
import { writeHtml } from "../../eval/html.js";
import { readReport } from "../../eval/read-report.js";
import { layOutComparison, layOutReport } from "../../eval/tables.js";

const HELP = `
Reports are what lockstep eval --output writes; those of slime's tau-bench eval.py are read, too. Tasks are paired by domain and
id. A difference is called one only where the exact sign test on the tasks that differ gives p < 0.05.`;

export function registerEvalReport(program: Command): void {
  program
    .command("report")
    .argument("<files...>", "reports; several are compared with the first")
    .summary("tables of a report, or the difference between reports")
    .description(
      "Lays out a report, or compares reports with the first: by domain, task by task, with significance.",
    )
    .option("--html <file>", "one report to read, with each attempt turn by turn, from the journal beside it")
    .option("--json", "one JSON object a line: the summaries of a report, or a comparison")
    .addHelpText("after", HELP)
    .action(report);
}

async function report(files: string[], flags: { html?: string; json?: true }, command: Command) {
  const { html, json } = flags;
  if (html !== undefined && files.length > 1) command.error("error: --html takes one report");
  const [first, ...others] = await Promise.all(files.map(readReport));
  const write = (object: object, text: () => string) =>
    process.stdout.write(json ? `${JSON.stringify(object)}\n` : text());
  if (others.length === 0) {
    const { k, summary, by_domain } = first!;
    write({ file: files[0], k, summary, by_domain }, () => layOutReport(first!));
  }
  for (const [i, other] of others.entries()) {
    const names = [files[0]!, files[i + 1]!] as const;
    const comparison = compareReports(first!, other);
    write({ first: names[0], second: names[1], ...comparison }, () => layOutComparison(...names, comparison));
  }
  if (html !== undefined) await writeHtml(html, first!, files[0]!);
}
