/**
 * A report to read in a browser: one file that loads nothing, with each attempt turn by turn: what the model saw and wrote, what
 * came of it, what was expected, which check failed. Main thread.
 *
 * Generic over transcripts (domain.ts): of a step it knows `assistant_text` and `followup`, and shows the rest by its name;
 * in `reward_info` an object with a boolean is a check. All text is the model's or a tool's: nothing gets in unescaped.
 */
import { replaceFile } from "../line-file.js";
import { type JournalLine, journalOf, keyOf, readJournal } from "./journal.js";
import { byDomain, type EvalReport, type TaskResult } from "./report.js";
import { layOutReport } from "./tables.js";

/** `reportPath`: where the report is; its journal lies beside it. Throws FILE_ERROR. */
export async function writeHtml(path: string, report: EvalReport, reportPath: string): Promise<void> {
  const lines = new Map<string, JournalLine>();
  for await (const line of readJournal(journalOf(reportPath))) lines.set(keyOf(line), line);
  await replaceFile(path, htmlReport(report, lines));
}

/** In pieces: transcripts may be long. */
export function* htmlReport(report: EvalReport, lines: ReadonlyMap<string, JournalLine>): Generator<string> {
  const title = `${report.domains.join(", ")}: ${report.hf_checkpoint}`;
  yield html`<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title><style>${new Markup(kStyle)}</style></head>
<body><h1>${title}</h1><pre>${layOutReport(report)}</pre>${Object.entries(byDomain(report.results)).map(overview)}
`.text;
  for (const result of report.results)
    for (const sample of result.attempts.keys())
      yield attemptMarkup(result, sample, lines.get(keyOf({ ...result, sample }))).text;
  yield "</body></html>\n";
}

const kStyle = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0 .8rem; padding: .5rem .7rem; background: #f6f6f4 }
pre.written { background: #eef4fb } h2 { margin-top: 2rem } small { color: #666 }
.ok { color: #1a7a34 } .failed { color: #b3261e } .overview span { display: inline-block; margin-right: 1.2rem }
details { margin: .4rem 0; border-left: 3px solid #ddd; padding-left: .8rem } summary { cursor: pointer }
`;

// ---- markup ----

/** Text that is HTML already. */
class Markup {
  constructor(readonly text: string) {}
}

/** What stands in the template is escaped, unless it is Markup; lists are joined. */
function html(strings: TemplateStringsArray, ...values: unknown[]): Markup {
  return new Markup(String.raw({ raw: strings }, ...values.map(textOf)));
}

function textOf(value: unknown): string {
  if (value instanceof Markup) return value.text;
  if (Array.isArray(value)) return value.map(textOf).join("");
  return String(value ?? "").replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Text as it is, anything else as JSON. */
const shown = (value: unknown): string =>
  typeof value === "string" ? value : (JSON.stringify(value, undefined, 1) ?? "");

const mark = (success: boolean): Markup =>
  success ? html`<b class="ok">&#10003;</b>` : html`<b class="failed">&#10007;</b>`;

// ---- the page ----

const anchorOf = ({ domain, task_index }: TaskResult, sample: number): string =>
  `${domain}-${task_index}-${sample}`;

/** A domain's tasks, with a link to each attempt. */
function overview([domain, results]: [string, TaskResult[]]): Markup {
  const links = (result: TaskResult) =>
    result.attempts.map(
      ({ success }, sample) => html`<a href="#${anchorOf(result, sample)}">${mark(success)}</a> `,
    );
  return html`<h2>${domain}</h2><p class="overview">${results.map(
    (result) => html`<span>${result.task_id} ${links(result)}</span> `,
  )}</p>`;
}

/** The anchor is inside: a browser opens what it is led into. */
function attemptMarkup(result: TaskResult, sample: number, line: JournalLine | undefined): Markup {
  const { success, status, reward, partial_score, steps, error, reward_info } = result.attempts[sample]!;
  const figures = `${status}, reward ${reward}, partial score ${partial_score}, ${steps} steps`;
  return html`<details><summary>${mark(success)} ${result.domain} ${result.task_id} #${sample} <small>${figures}</small></summary>
<a id="${anchorOf(result, sample)}"></a>${error ? html`<p class="failed">${error}</p>` : ""}
${checksMarkup(reward_info)}${line ? transcriptMarkup(line) : html`<p>The journal has no transcript of it.</p>`}</details>
`;
}

function transcriptMarkup({ reset_followup, steps }: JournalLine): Markup {
  const turns = Array.isArray(steps) ? (steps as Record<string, unknown>[]) : [];
  return html`${messagesMarkup(reset_followup)}${turns.map(
    ({ assistant_text, followup, ...rest }, i) => html`<small>${i + 1}. model</small>
<pre class="written">${shown(assistant_text)}</pre>${restMarkup(rest)}${messagesMarkup(followup)}`,
  )}`;
}

/** What the model is shown next. */
function messagesMarkup(messages: unknown): Markup {
  const list = Array.isArray(messages) ? (messages as { role?: unknown; content?: unknown }[]) : [];
  return html`${list.map(
    (message) => html`<small>${message?.role}</small><pre>${shown(message?.content ?? message)}</pre>`,
  )}`;
}

/** What else the domain says of a step. */
function restMarkup(rest: Record<string, unknown>): Markup | string {
  const said = Object.entries(rest).filter(([, value]) => value !== null && value !== undefined);
  if (said.length === 0) return "";
  return html`<details><summary><small>${said.map(([name]) => name).join(", ")}</small></summary>${said.map(
    ([name, value]) => html`<small>${name}</small><pre>${shown(value)}</pre>`,
  )}</details>`;
}

function checksMarkup(rewardInfo: unknown): Markup | string {
  const checks = [...checksIn(rewardInfo, "")];
  if (checks.length === 0) return "";
  return html`<small>checks</small><ul>${checks.map(
    ({ name, passed, check }) => html`<li>${mark(passed)} ${name} <code>${JSON.stringify(check)}</code></li>`,
  )}</ul>`;
}

/** Objects with a boolean of their own, by the key that they, or the list that they are in, stand under. */
function* checksIn(
  value: unknown,
  name: string,
): Generator<{ name: string; passed: boolean; check: object }> {
  if (typeof value !== "object" || value === null) return;
  const flags = Array.isArray(value) ? [] : Object.values(value).filter((one) => typeof one === "boolean");
  if (flags.length > 0) yield { name, passed: !flags.includes(false), check: value };
  else
    for (const [key, one] of Object.entries(value)) yield* checksIn(one, Array.isArray(value) ? name : key);
}
