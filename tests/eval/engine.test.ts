/** Evaluations on a real engine: results that do not depend on who runs beside whom, and a prompt beyond the context. */
import { Engine } from "lockstep";
import { type Domain, homeDomain, runEval } from "lockstep/eval";
import { afterAll, beforeAll, expect, it } from "vitest";
import { MODEL } from "../cli/run-cli.js";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(MODEL);
});
afterAll(() => engine.close());

it("gives the same attempts one by one and all at once", async () => {
  const play = async (concurrency: number) => {
    const options = { numSamples: 2, maxTasksPerDomain: 4, sampling: { temperature: 1 }, concurrency };
    const { run: _, ...report } = await runEval(engine, homeDomain(), options);
    return report;
  };
  const [one, all] = [await play(1), await play(8)];
  expect(one).toEqual(all);
  expect(one.settings).toMatchObject({ compute_path: engine.computePath, max_context: engine.maxContext });
});

it("ends an attempt whose prompt is beyond the context, and no other", async () => {
  const home = homeDomain();
  const domain: Domain = {
    ...home,
    start(task, attempt) {
      const episode = home.start(task as never, attempt) as never as {
        first: { conversation: { content: string }[] };
      };
      if (task.id === "home-001") episode.first.conversation[1]!.content = "Please ".repeat(5000);
      return episode as never;
    },
  };
  const { results } = await runEval(engine, domain, { maxTasksPerDomain: 3 });
  expect(results.map(({ attempts }) => attempts[0]!.status)).toEqual([
    "completed",
    "context_overflow",
    "completed",
  ]);
});
