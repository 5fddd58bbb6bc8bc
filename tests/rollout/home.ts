/** The demo's domain as rollouts: tasks as requests whose turns call the home's tools and whose reward is the home's state. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { RolloutRequest, Tool } from "lockstep";
import { callTool, sameHome } from "../../examples/demo/home.mjs";

const read = (name: string): string =>
  readFileSync(fileURLToPath(new URL(`../../examples/demo/${name}`, import.meta.url)), "utf8");

export const kSystem = read("system.txt");
export const kTools: Tool[] = JSON.parse(read("tools.json"));

export interface Task {
  id: string;
  split: string;
  request: string;
  initial_state: object;
  expected_state: object;
}

export const kTasks: Task[] = read("tasks.jsonl")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line))
  .filter(({ split }: Task) => split === "test");

/** Greedy, as the demo plays it. */
export const kGreedy = { sampling: { temperature: 0, maxTokens: 96 } };

export function homeRequest({ id, request, initial_state, expected_state }: Task): RolloutRequest {
  const homeOf = (state: { home?: object }): object => (state.home ??= structuredClone(initial_state));
  return {
    prompt: {
      messages: [
        { role: "system", content: kSystem },
        { role: "user", content: request },
      ],
      tools: kTools,
    },
    metadata: id,
    turn: (_sample, { toolCalls: [call], state }) =>
      call ? { messages: [{ role: "tool", content: callTool(homeOf(state), call) }] } : null,
    reward: (_sample, { state }) => (sameHome(homeOf(state), expected_state) ? 1 : 0),
  };
}
