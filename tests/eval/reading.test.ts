/** What people read of reports: comparisons, tables, the page. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import { compareReports } from "../../src/eval/compare.js";
import { htmlReport, writeHtml } from "../../src/eval/html.js";
import { type EvalReport, type JournalLine, runEval } from "../../src/eval/index.js";
import { journalOf, keyOf } from "../../src/eval/journal.js";
import { readReport } from "../../src/eval/read-report.js";
import { layOutComparison, layOutReport } from "../../src/eval/tables.js";
// @ts-expect-error: plain JavaScript, for the child too
import { countingDomain, countingEngine } from "./children/counting.mjs";
import { newFile } from "./support.js";

/** A report as the original writes it: each text is a domain's, a word a task, a letter an attempt ("x" failed). */
async function original(domains: Record<string, string>, k = 1): Promise<EvalReport> {
  const results = Object.entries(domains).flatMap(([domain, tasks]) =>
    tasks.split(" ").map((attempts, i) => ({
      ...{ domain, task_id: String(i) },
      attempts: [...attempts].map((letter) => {
        const success = letter !== "x";
        return { success, reward: Number(success), partial_score: Number(success), status: "completed" };
      }),
    })),
  );
  const path = newFile();
  writeFileSync(
    path,
    JSON.stringify({ hf_checkpoint: "m", task_split: "test", domains: Object.keys(domains), k, results }),
  );
  return readReport(path);
}

it("pairs tasks, and calls a difference one only where the exact test does", async () => {
  const first = await original({ a: "x x x x x x x o o o", b: "o o x" });
  const second = await original({ a: "o o o o o o o o o x", b: "o o o x" });
  const comparison = compareReports(first, second);
  expect(comparison).toMatchObject({
    ...{ attempts: 1, unpaired: 1, settings: [] },
    by_domain: {
      a: {
        ...{
          tasks: 10,
          before: 0.3,
          after: 0.9,
          p: expect.closeTo((2 * (1 + 8)) / 256, 12),
          verdict: "no evidence of a difference",
        },
        ...{
          better: ["0", "1", "2", "3", "4", "5", "6"],
          worse: ["9"],
          difference: { estimate: expect.closeTo(0.6, 12) },
        },
      },
      b: { better: ["2"], worse: [], p: 1, verdict: "no evidence of a difference" },
    },
    overall: {
      tasks: 13,
      p: expect.closeTo((2 * (1 + 9)) / 512, 12),
      verdict: "evidence that the second is better",
    },
  });
  const { low, high } = comparison.by_domain.a!.difference;
  expect([low < 0.6, high > 0.6, low > 0]).toEqual([true, true, true]);
  expect(compareReports(first, first).overall).toMatchObject({ p: 1, verdict: "no difference on any task" });
  expect(compareReports(second, first).overall.verdict).toBe("evidence that the first is better");

  const text = layOutComparison("A.json", "B.json", comparison);
  expect(text).toMatch(/^a +10 +0\.300 +0\.900 +0\.600 \[.*\] +7 +1 +0\.070 +no evidence of a difference$/m);
  expect(text).toContain("left out: 1 task in one of them only");
  expect(text).toContain("a, better: 0, 1, 2, 3, 4, 5, 6\na, worse: 9\nb, better: 2\n");
});

it("compares as many attempts at each task in both", async () => {
  // One attempt of a task that mostly succeeds is seldom at its share of eight: no sign of anything.
  const one = await original({ a: Array(20).fill("o").join(" ") });
  const eight = await original({ a: Array(20).fill("oooooxoo").join(" ") }, 8);
  expect(compareReports(one, eight)).toMatchObject({
    attempts: 1,
    overall: { verdict: "no difference on any task" },
  });
});

it("names the settings that differ", async () => {
  const play = (options: object) => runEval(countingEngine(), countingDomain(), { model: "m", ...options });
  const comparison = compareReports(await play({}), await play({ seed: 3, sampling: { topK: 5 } }));
  expect(comparison.settings).toEqual([
    "seed (0 then, 3 now)",
    "domains.counting.sampling.topK (not set then, 5 now)",
  ]);
});

it("lays out a report", async () => {
  const report = await original({ a: "oo ox xx", b: "xo xo xo" }, 2);
  const text = layOutReport(report);
  expect(text).toMatch(/^a +3 +0\.500 \[.*\] +0\.667 \[.*\] +0\.333 \[/m);
  expect(text).toMatch(/^b +3 +0\.500 \[0\.500, 0\.500\] +1\.000 \[1\.000, 1\.000\] +0\.000 \[/m);
  expect(text).toMatch(/^all +6 +0\.500/m);
  expect(text).toContain("ended      completed 12\n");
});

it.each([
  ["nothing", "", /Unexpected end/],
  ["null", "null", /no results/],
  ["no results", "{}", /it has no results/],
  [
    "a result without attempts",
    '{"results": [{"domain": "a", "task_id": "1", "attempts": []}]}',
    /results\[0\]/,
  ],
])("refuses a report that is %s", async (_, text, message) => {
  const path = newFile();
  writeFileSync(path, text);
  await expect(readReport(path)).rejects.toMatchObject({
    code: "FILE_ERROR",
    message: expect.stringMatching(message),
  });
});

const kNasty = `<script>alert("1")</script>'&amp;<img src=x onerror="a">`;

it("shows every attempt turn by turn, and lets no text out of its place", async () => {
  const domain = countingDomain({ tasks: 2, name: kNasty });
  const engine = countingEngine();
  const { generate } = engine;
  engine.generate = async (...args: never[]) => {
    const answer = await generate(...args);
    return { ...answer, text: `${answer.text}${kNasty}` };
  };
  const output = newFile();
  const report = await runEval(engine, domain, { model: kNasty, output, journal: journalOf(output) });
  const page = newFile("page.html");
  await writeHtml(page, report, output);
  const html = readFileSync(page, "utf8");
  expect(html).not.toContain("<script");
  expect(html).not.toContain("<img");
  expect(
    html.split("&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62;&#39;&#38;amp;").length,
  ).toBeGreaterThan(10);
  expect(html).toContain("default-src 'none'");
  expect(html.match(/<details><summary><b class/g)).toHaveLength(2);
  expect(html.match(/go on/g)!.length).toBe(4);
  // Nothing is loaded and nothing runs: whatever tags there are, they have no attributes but these.
  const attributes = [...html.matchAll(/<\w+([^>]*)>/g)].flatMap(
    ([, text]) => text!.match(/[\w-]+="#?/g) ?? [],
  );
  expect(new Set(attributes)).toEqual(
    new Set(['lang="', 'charset="', 'http-equiv="', 'content="', 'class="', 'href="#', 'id="']),
  );
});

it("shows checks, actions and observations of a step in the layout of tau2's recordings", async () => {
  const report = await original({ tau: "x" });
  report.results[0]!.attempts[0]!.reward_info = {
    db_check: { db_match: false, db_reward: 0 },
    action_checks: [
      { action: { name: "book", arguments: { free: false } }, action_match: true },
      { action: { name: "pay", arguments: {} }, action_match: false },
    ],
    reward_basis: ["DB"],
    info: { env: null },
  };
  const line = {
    ...{ domain: "tau", task_id: "0", sample: 0, attempt: {}, run: {} },
    reset_followup: [{ role: "user", content: "hello" }],
    steps: [
      {
        ...{
          assistant_text: "call",
          raw_action_call: "book()",
          observation: "tool: done",
          user_db_hash: null,
        },
        followup: [{ role: "user", content: "Tool result for book()" }],
      },
    ],
  };
  const lines = new Map([[keyOf(line), line as unknown as JournalLine]]);
  const html = [...htmlReport(report, lines)].join("");
  expect(html.replace(/<[^>]*>/g, "|")).toMatch(
    /hello.*1\. model.*call.*raw_action_call, observation.*book\(\).*tool: done.*Tool result/s,
  );
  const checks = [...html.matchAll(/<li><b class="(\w+)">&#\d+;<\/b> (\w+)/g)].map(([, ...found]) => found);
  expect(checks).toEqual([
    ["failed", "db_check"],
    ["ok", "action_checks"],
    ["failed", "action_checks"],
  ]);
});
