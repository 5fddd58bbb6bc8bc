/**
 * Evaluations that are ended: nothing finished is lost or there twice, and the report is that of a run that was not. The child
 * is a real one, killed at random moments; the cuts at every byte are made by hand, since a kill seldom hits a write.
 */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import { type EvalReport, runEval } from "../../src/eval/index.js";
import { EvalJournal, journalOf } from "../../src/eval/journal.js";
// @ts-expect-error: plain JavaScript, for the child too
import { countingDomain, countingEngine } from "./children/counting.mjs";
import { attemptsIn, newFile, resultsOf, runChild } from "./support.js";

/** `KILLS=200` for a long run. */
const kKills = Number(process.env.KILLS ?? 24);

const sizeOf = (path: string): number => (existsSync(path) ? statSync(path).size : 0);

it("ends with the same report, however often it is killed", { timeout: 30_000 + 1000 * kKills }, async () => {
  const whole = newFile();
  expect(await runChild(whole)).toEqual({ code: 0, stderr: "" });
  let path = newFile();
  let [killed, runs, mended] = [0, 0, 0]; // in all; on this file; runs that went on from some attempts and made more
  while (killed < kKills || mended < 5) {
    const size = sizeOf(journalOf(path));
    const { code } = await runChild(path, (kill) => setTimeout(kill, Math.random() * 60));
    if (size > 0 && sizeOf(journalOf(path)) > size + 20_000) ++mended;
    ++runs;
    if (code === null) ++killed;
    else {
      // Finished before the kill: the next is begun.
      expect(resultsOf(path)).toBe(resultsOf(whole));
      expect(attemptsIn(journalOf(path))).toHaveLength(4 * (8 + 6));
      const { run } = JSON.parse(readFileSync(path, "utf8")) as EvalReport;
      expect(run.resumes).toBe(runs - 1);
      [path, runs] = [newFile(), 0];
    }
  }
});

it("goes on from a journal that is cut at any byte", async () => {
  const options = { numSamples: 2, model: "none" };
  const play = (output: string, engine = countingEngine()) =>
    runEval(engine, countingDomain({ tasks: 1 }), { ...options, output, journal: journalOf(output) });
  const whole = newFile();
  await play(whole);
  const journal = readFileSync(journalOf(whole));
  const { settings } = JSON.parse(journal.toString().split("\n")[0]!) as { settings: object };
  const path = newFile();
  const played = new Set<number>();
  const lastLine = journal.lastIndexOf("\n", journal.length - 2);
  // Every byte of the last line, every ninth before it; and every 36th is played to its end.
  for (let length = 0; length < journal.length; length += length < lastLine ? 9 : 1) {
    writeFileSync(journalOf(path), journal.subarray(0, length));
    if (length % 36 > 0) {
      const opened = await EvalJournal.open(journalOf(path), { ...settings });
      await opened.close();
      const wholeLines = journal.subarray(0, length).toString().split("\n").length - 1;
      expect(opened.earlier.size).toBe(Math.max(0, wholeLines - 1));
      continue;
    }
    const engine = countingEngine();
    await play(path, engine);
    played.add(engine.calls);
    expect(resultsOf(path)).toBe(resultsOf(whole));
    expect(attemptsIn(journalOf(path))).toHaveLength(2);
  }
  expect([...played]).toEqual([6, 3]); // both attempts, then the second only
});

it("keeps what is finished, and the report before, when the disk is full, and goes on when it is not", async () => {
  const whole = newFile();
  await runChild(whole);
  const path = newFile();
  writeFileSync(path, "the report before");
  // Files of this shell may have 1,000 blocks of 1,024 bytes: of 2 MB of journal, some.
  const { code, stderr } = await runChild(path, undefined, "ulimit -f 1000; exec");
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: expect.stringMatching(/^FILE_ERROR Cannot write .*journal\.jsonl: EFBIG/),
  });
  expect(readFileSync(path, "utf8")).toBe("the report before");
  const kept = attemptsIn(journalOf(path)).length;
  expect(kept).toBeGreaterThan(0);
  expect(kept).toBeLessThan(56);

  expect(await runChild(path)).toEqual({ code: 0, stderr: "" });
  expect(resultsOf(path)).toBe(resultsOf(whole));
  expect(attemptsIn(journalOf(path))).toHaveLength(56);
});
