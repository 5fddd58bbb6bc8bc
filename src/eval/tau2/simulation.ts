/**
 * One attempt at a task without the model: conversation, environment and grading together, driven by the agent's actions.
 *
 * Owns the attempt's state. `step` is to the port what the original's gym environment is to its evaluation.
 */
import { PyError } from "../../python/types.js";
import type { DomainData } from "./data.js";
import type { Environment } from "./environment.js";
import { grade, partialScore, type RewardInfo } from "./grading.js";
import { type Ending, Orchestrator } from "./orchestrator.js";
import type { Tau2Task } from "./tasks.js";
import type { UserSession } from "./user/user.js";

export interface SimulationOptions {
  user: UserSession;
  /** Default 100. */
  maxHops?: number;
}

export class Simulation {
  readonly environment: Environment;
  readonly conversation: Orchestrator;
  rewardInfo: RewardInfo | null = null;

  constructor(
    private readonly domain: DomainData,
    readonly task: Tau2Task,
    { user, maxHops = 100 }: SimulationOptions,
  ) {
    this.environment = domain.environment(task);
    this.conversation = new Orchestrator({ environment: this.environment, user, maxHops });
  }

  get ended(): Ending | undefined {
    return this.conversation.ended;
  }

  /** Until the agent's first turn. A user who stops at once leaves it nothing to see, and its first action ends the attempt ungraded. */
  async start(): Promise<void> {
    await this.conversation.start();
  }

  /** What the agent sees first. */
  get firstObservation(): string {
    return this.ended === undefined ? this.conversation.observation : "";
  }

  /** Plays an action; `terminated` with the reward where that ended the attempt. */
  async step(action: string): Promise<{ observation: string; reward: number; terminated: boolean }> {
    if (this.conversation.ended !== undefined) return { observation: "", reward: 0, terminated: true };
    await this.conversation.act(action);
    const { observation } = this.conversation;
    const ending: Ending | undefined = this.ended; // act() has changed it
    if (ending === undefined) return { observation, reward: 0, terminated: false };
    if ("termination" in ending) this.rewardInfo = this.#grade(ending.termination);
    return { observation, reward: this.rewardInfo?.reward ?? 0, terminated: true };
  }

  get partial(): { score: number; components: Record<string, number> } {
    return this.rewardInfo === null ? { score: 0, components: {} } : partialScore(this.rewardInfo);
  }

  #grade(termination: Parameters<typeof grade>[1]): RewardInfo {
    return grade(this.task, termination, this.conversation.trajectory, this.environment, () =>
      goldHashes(this.domain, this.task),
    );
  }
}

const knownGoldHashes = new WeakMap<Tau2Task, { db: string; userDb: string | null }>();

/** The state that the reference's actions lead to, without synchronisation between them; its errors do not count. */
function goldHashes(domain: DomainData, task: Tau2Task): { db: string; userDb: string | null } {
  let hashes = knownGoldHashes.get(task);
  if (hashes === undefined) {
    const environment = domain.environment(task);
    for (const action of task.criteria?.actions ?? []) {
      try {
        environment.callTool(action.name, action.requestor, action.arguments);
      } catch (error) {
        if (!(error instanceof PyError)) throw error;
      }
    }
    hashes = environment.hashes();
    knownGoldHashes.set(task, hashes);
  }
  return hashes;
}
