/** Whole runs on a suite without a model: what is refused, what a report holds, and what it does not depend on. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import { LockstepError } from "../../src/errors.js";
import { type Domain, type EvalOptions, type JournalLine, runEval } from "../../src/eval/index.js";
// @ts-expect-error: plain JavaScript, for the child too
import { countingDomain, countingEngine } from "./children/counting.mjs";
import { attemptsIn, newFile } from "./support.js";

const domains = (): Domain[] => [countingDomain({ tasks: 5 }), countingDomain({ tasks: 3, name: "more" })];
const play = (options: EvalOptions = {}, on: Domain | Domain[] = domains(), engine = countingEngine()) =>
  runEval(engine, on, { model: "none", ...options });

it("reports each domain's tasks with the original's fields, and ours", async () => {
  const report = await play({ numSamples: 3 });
  expect(report).toMatchObject({
    ...{ hf_checkpoint: "none", sglang_url: null, task_split: "test", domains: ["counting", "more"], k: 3 },
    by_domain: { counting: { total: 5, statuses: { completed: 15 } }, more: { total: 3 } },
    usage: { prompt_tokens: 24 * (1 + 2 + 3), completion_tokens: 24 * 3, user: { tokens: 48 } },
    settings: { seed: 0, num_samples: 3, compute_path: "none", domains: { more: { max_steps: 10 } } },
    run: { attempts_kept: 0, resumes: 0 },
  });
  expect(report.results.map(({ domain, task_index, task_id }) => [domain, task_index, task_id])).toEqual([
    ...[0, 1, 2, 3, 4].map((i) => ["counting", i, `test-${i}`]),
    ...[0, 1, 2].map((i) => ["more", i, `test-${i}`]),
  ]);
  const { summary, results } = report;
  const shares = results.map(({ attempts }) => attempts.filter(({ success }) => success).length / 3);
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  expect(summary.pass_at_k[1]!.estimate).toBeCloseTo(mean(shares), 12);
  expect(summary.pass_hat_k[1]!.estimate).toBeCloseTo(mean(shares), 12);
  expect(summary.pass_at_1).toBe(mean(results.map(({ attempts }) => Number(attempts[0]!.success))));
  expect(summary.pass_at_3).toBe(mean(shares.map((share) => Number(share > 0))));
  expect(summary.pass_hat_k[3]!.estimate).toBe(mean(shares.map((share) => Number(share === 1))));
  for (const { attempts, best_sample_idx, best_success } of results) {
    const first = attempts.findIndex(({ success }) => success);
    expect([best_sample_idx, best_success]).toEqual([Math.max(0, first), first >= 0]);
  }
  // Not one attempt like the other: samples differ, and so do tasks.
  expect(
    new Set(results.flatMap(({ attempts }) => attempts.map(({ reward_info }) => JSON.stringify(reward_info))))
      .size,
  ).toBe(24);
});

it("gives a task the same attempts whatever is played beside it, and however many at once", async () => {
  const all = await play({ numSamples: 2, concurrency: 1 });
  const engine = countingEngine();
  const some = await play({ numSamples: 3, taskIds: ["test-2"], concurrency: 4 }, domains(), engine);
  expect(engine.most).toBe(4);
  expect(some.results.map(({ task_index, task_id }) => [task_index, task_id])).toEqual([
    [0, "test-2"],
    [0, "test-2"],
  ]);
  for (const { domain, attempts } of some.results) {
    const same = all.results.find((result) => result.domain === domain && result.task_id === "test-2");
    expect(attempts.slice(0, 2)).toEqual(same!.attempts);
  }
  const other = await play({ numSamples: 2, seed: 1 });
  expect(other.results[0]!.attempts).not.toEqual(all.results[0]!.attempts);
});

it.each<[string, EvalOptions, RegExp, Domain[]?]>([
  ["no attempts", { numSamples: 0 }, /integer in \[1, 1000000\] for numSamples but received 0/],
  ["half an attempt", { numSamples: 1.5 }, /numSamples/],
  [
    "an unknown split",
    { split: "tset" },
    /a split of counting but received 'tset': did you mean test\? Known: test, train/,
  ],
  [
    "an unknown task",
    { taskIds: ["test-1", "tst-4"] },
    /task id of split test but received 'tst-4': did you mean test-4\?/,
  ],
  ["an unknown option", { numSample: 1 } as never, /did you mean numSamples\?/],
  ["sampling that is none", { sampling: 3 as never }, /object of sampling options/],
  [
    "the same domain twice",
    {},
    /Expected each domain once but received counting twice/,
    [countingDomain(), countingDomain()],
  ],
  ["no domain", {}, /but there are none/, []],
  ["no task", {}, /but there are none/, [countingDomain({ tasks: 0 })]],
])("refuses %s before anything runs", async (_, options, message, on = domains()) => {
  const engine = countingEngine();
  await expect(play(options, on, engine)).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.stringMatching(message),
  });
  expect(engine.calls).toBe(0);
});

it("refuses a journal of other settings with those that differ, or mixes them and says so", async () => {
  const journal = newFile();
  await play({ journal, sampling: { temperature: 0.5 } });
  const lines = readFileSync(journal, "utf8");
  const changed = [countingDomain({ tasks: 5, note: "x" }), countingDomain({ tasks: 3, name: "more" })];
  await expect(play({ journal, numSamples: 2 }, changed)).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.stringContaining(
      'these differ: num_samples (1 then, 2 now), domains.counting.sampling.temperature (0.5 then, 1 now), domains.more.sampling.temperature (0.5 then, 1 now), domains.counting.note (not set then, "x" now). Give',
    ),
  });
  expect(readFileSync(journal, "utf8")).toBe(lines);

  const engine = countingEngine();
  const mixed = await play({ journal, numSamples: 2, resumeAnyway: true }, changed, engine);
  expect(engine.calls).toBe(8 * 3); // the second attempt at each task
  expect(mixed.mixed_settings).toHaveLength(4);
  expect(mixed.run).toMatchObject({ resumes: 1, attempts_kept: 8 });
  const again = await play({ journal, numSamples: 2 }, changed); // the last session's settings count
  expect(again.mixed_settings).toEqual(mixed.mixed_settings);
});

it.each([
  ["no journal", "hello\n", /its line 1 has no settings/],
  ["a beginning that is none", "hello", /its line 1 has no settings/],
  ["an attempt that is there twice", undefined, /its line 3 is of an attempt that is there already/],
  ["a line in the middle that is torn", undefined, /its line 2 is no attempt/],
])("refuses a file with %s, and leaves it", async (what, text, message) => {
  const journal = newFile();
  if (text === undefined) {
    await play({ journal }, countingDomain({ tasks: 2 }));
    const [settings, line, other] = readFileSync(journal, "utf8").split("\n");
    writeFileSync(
      journal,
      what.includes("twice")
        ? [settings, line, line, other, ""].join("\n")
        : [settings, "{", other, ""].join("\n"),
    );
  } else writeFileSync(journal, text);
  const before = readFileSync(journal, "utf8");
  await expect(play({ journal }, countingDomain({ tasks: 2 }))).rejects.toMatchObject({
    message: expect.stringMatching(message),
  });
  expect(readFileSync(journal, "utf8")).toBe(before);
});

it("ends with the signal's reason, and goes on from what was finished", async () => {
  const [journal, controller] = [newFile(), new AbortController()];
  const seen: JournalLine[] = [];
  const onAttempt = (line: JournalLine) => {
    seen.push(line);
    if (seen.length === 3) controller.abort("enough");
  };
  const ended = play({ journal, concurrency: 2, onAttempt, signal: controller.signal });
  await expect(ended).rejects.toBe("enough");
  expect(attemptsIn(journal)).toEqual(seen);
  expect(seen.length).toBeLessThan(8);
  const progress: number[] = [];
  const report = await play({ journal, onProgress: ({ finished }) => progress.push(finished) });
  expect(progress).toEqual(Array.from({ length: 8 - seen.length + 1 }, (_, i) => seen.length + i));
  const { run: _, ...rest } = report;
  const { run: __, ...whole } = await play();
  expect(rest).toEqual(whole);
});

it("rejects with what ends the engine, after the attempts under way have let go", async () => {
  const engine = countingEngine();
  const { generate } = engine;
  engine.generate = (prompt: never, sampling: never) => {
    if (engine.calls === 7) throw new LockstepError("ENGINE_FAILED", "broken");
    return generate(prompt, sampling);
  };
  const journal = newFile();
  await expect(play({ journal, concurrency: 1 }, domains(), engine)).rejects.toMatchObject({
    code: "ENGINE_FAILED",
  });
  expect(attemptsIn(journal)).toHaveLength(2);
});

it.each<[string, object | undefined, string]>([
  ["what JSON cannot write", { status: "completed", success: true, rewardInfo: 1n }, "BigInt"],
  ["no outcome", undefined, "Expected the episode to give a turn or an outcome but received undefined"],
  [
    "a success that is none",
    { status: "completed", success: "yes" },
    'a boolean as its success but received "yes"',
  ],
  [
    "a reward that is none",
    { status: "completed", success: true, reward: Number.NaN },
    "a finite number as its reward",
  ],
])("makes a status of %s", async (_, outcome, error) => {
  const domain = countingDomain({ tasks: 1 });
  const { start } = domain;
  domain.start = (...args: never[]) => ({ ...start(...args), step: () => outcome });
  const report = await play({ journal: newFile() }, domain);
  const [attempt] = report.results[0]!.attempts;
  expect(attempt).toMatchObject({
    ...{ success: false, status: "environment_error", reward: 0, steps: 1 },
    error: expect.stringContaining(error),
  });
});
