/** The demo's domain as rollouts: tasks as requests whose turns call the home's tools and whose reward is the home's state. */
import type { RolloutRequest } from "lockstep";
import { type HomeTask, homeDomain } from "../../src/eval/home/home.js";
import { callTool, type Home, sameHome } from "../../src/eval/home/rules.js";

export const kDomain = homeDomain();
export const { system: kSystem, tools: kTools } = kDomain;
export const kTasks = kDomain.tasks("test");

/** Greedy, as the demo plays it. */
export const kGreedy = { sampling: { temperature: 0, maxTokens: 96 } };

export function homeRequest({ id, request, initial_state, expected_state }: HomeTask): RolloutRequest {
  const homeOf = (state: { home?: Home }): Home => (state.home ??= structuredClone(initial_state));
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
