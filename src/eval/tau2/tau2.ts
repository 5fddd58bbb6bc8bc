/** tau2-bench as a Domain: data, tools, prompt and user of one of its domains together. Main thread. */
import type { AttemptContext, Domain, EvalTask } from "../domain.js";
import type { DomainName, Tau2Data } from "./data.js";
import { RecordedUser, Tau2Episode } from "./episode.js";
import { type AgentPrompt, ownPrompt, promptFromFiles } from "./prompt.js";
import { Simulation } from "./simulation.js";
import { type DomainSchemas, deriveToolSchemas, readToolSchemas } from "./tool-schemas.js";
import { kUserModel } from "./user/openai.js";
import { userSystemPrompt } from "./user/prompt.js";
import type { User } from "./user/user.js";

export interface Tau2Options {
  /** A tau2-bench checkout. */
  directory: string;
  data: Tau2Data;
  domain: DomainName;
  /** Folder with `schemas_{domain}.json`; default: derived from the checkout's sources. */
  toolSchemas?: string | undefined;
  /** Folder with `system_prompt_{domain}.txt` and `repair_message.txt`; default: our own wording. */
  agentPrompt?: string | undefined;
  user: User;
  /** As tau2Setting() gives it; default: it is asked. */
  setting?: Tau2Setting | undefined;
}

/** Everything of a domain but the user. */
export interface Tau2Setting {
  schemas: DomainSchemas;
  prompt: AgentPrompt;
}

/** Throws FILE_ERROR where files are missing or other than expected. */
export function tau2Setting({
  directory,
  data,
  domain,
  toolSchemas,
  agentPrompt,
}: Omit<Tau2Options, "user" | "setting">): Tau2Setting {
  const world = data.domain(domain);
  const schemas =
    toolSchemas === undefined ? deriveToolSchemas(directory, domain) : readToolSchemas(toolSchemas, domain);
  const prompt =
    agentPrompt === undefined ? ownPrompt(world, schemas.agent) : promptFromFiles(agentPrompt, domain);
  return { schemas, prompt };
}

export function tau2Domain(options: Tau2Options): Domain<EvalTask> {
  const { data, domain: name, user } = options;
  const world = data.domain(name);
  const setting = options.setting ?? tau2Setting(options);
  return {
    name,
    splits: [...world.splits.keys()],
    defaults: {
      split: "test",
      maxSteps: 100,
      sampling: { temperature: 0, topP: 1, topK: 20, maxTokens: 1200 },
    },
    tasks(split) {
      const wanted = new Set(world.splits.get(split));
      return world.taskIds.filter((id) => wanted.has(id)).map((id) => ({ id }));
    },
    start: ({ id }, attempt) => startEpisode(options, setting, id, attempt),
    describe: () => ({
      ...comparability(setting.prompt, data),
      prompt_sha256: setting.prompt.hashes,
      user: { ...user.describe(), ...userLabel(user) },
    }),
  };
}

export async function startEpisode(
  { data, domain, user }: Tau2Options,
  { schemas, prompt }: Tau2Setting,
  id: string,
  { sample, seed, signal, maxSteps }: AttemptContext,
): Promise<Tau2Episode> {
  const world = data.domain(domain);
  const task = world.task(id);
  const systemPrompt = userSystemPrompt(world.guidelines, task.scenario);
  const session = new RecordedUser(
    user.start({ domain, task, systemPrompt, tools: schemas.user, sample, seed, signal }),
  );
  const simulation = new Simulation(world, task, { user: session, maxHops: maxSteps });
  await simulation.start();
  return new Tau2Episode({ simulation, user: session, prompt, identity: { domain, task_id: id } });
}

/** A number with another user is another number. */
function userLabel(user: User): Record<string, unknown> {
  if (user.describe().model === kUserModel) return {};
  return { label: `published numbers have ${kUserModel} as the user` };
}

/** Published numbers were made with the original's prompts and data. */
function comparability(prompt: AgentPrompt, data: Tau2Data): Record<string, unknown> {
  const reasons = [
    ...(prompt.original ? [] : ["the agent's prompt or repair message is not the original's"]),
    ...(data.differing.size === 0 ? [] : [`other data: ${[...data.differing].join(", ")}`]),
  ];
  if (reasons.length === 0) return { comparable: true };
  return { comparable: false, note: `not comparable with published numbers: ${reasons.join("; ")}` };
}
