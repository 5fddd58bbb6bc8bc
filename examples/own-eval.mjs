/**
 * A suite of one's own in fifty lines: can the model set a room's temperature? A domain says what the model sees, takes what it
 * writes and judges the end; runEval plays all tasks at once and estimates. `node examples/own-eval.mjs [MODEL]`
 */
import { fileURLToPath } from "node:url";
import { Engine } from "lockstep";
import { homeDomain, runEval } from "lockstep/eval";

const model = process.argv[2] ?? fileURLToPath(new URL("demo/model", import.meta.url));
const { system, tools } = homeDomain(); // what the demo's model was trained with
const rooms = ["kitchen", "garage", "office", "attic"];

const domain = {
  name: "thermostat",
  splits: ["test"],
  defaults: { split: "test", maxSteps: 4, sampling: { temperature: 0, maxTokens: 96 } },

  tasks: () =>
    rooms.flatMap((room) => [17, 21, 24].map((celsius) => ({ id: `${room}-${celsius}`, room, celsius }))),

  /** One attempt. `sample` and `seed` of the second argument are for what an episode draws; this one draws nothing. */
  start({ room, celsius }) {
    let conversation = [
      { role: "system", content: system },
      { role: "user", content: `Set the ${room} to ${celsius} degrees` },
    ];
    const calls = [];
    const right = (call) => call.arguments.room === room && call.arguments.celsius === celsius;
    return {
      first: { conversation, observation: conversation, tools },
      /** What the model wrote: another turn, or how it ended. */
      step(_text, { toolCalls: [call] = [] }) {
        if (!call) {
          const check = { calls, only_the_right_one: calls.length === 1 && right(calls[0]) };
          return { status: "completed", success: check.only_the_right_one, rewardInfo: check };
        }
        calls.push(call);
        const asked = { role: "assistant", content: "", tool_calls: [{ type: "function", function: call }] };
        const observation = [{ role: "tool", content: '{"ok": true}' }];
        conversation = [...conversation, asked, ...observation];
        return { conversation, observation, tools };
      },
      /** Ended from outside: no step left, a prompt beyond the context, an aborted request. */
      end: (status) => ({ status, success: false }),
    };
  },

  /** What decides results besides the engine: an earlier run is gone on with only where it is equal. */
  describe: () => ({ version: 1, rooms }),
};

const engine = await Engine.load(model);
try {
  const report = await runEval(engine, domain, { numSamples: 4, sampling: { temperature: 1 } });
  for (const { task_id, attempts } of report.results)
    console.log(`${task_id.padEnd(12)} ${attempts.map(({ success }) => (success ? "yes" : "no")).join(" ")}`);
  const { pass_at_k, pass_hat_k } = report.summary;
  for (const [name, figure] of Object.entries({ "pass@4": pass_at_k[4], "pass^4": pass_hat_k[4] })) {
    const [estimate, low, high] = [figure.estimate, figure.low, figure.high].map((one) => one.toFixed(3));
    console.log(`${name} ${estimate}, 95 % interval ${low} to ${high}`);
  }
} finally {
  await engine.close();
}
