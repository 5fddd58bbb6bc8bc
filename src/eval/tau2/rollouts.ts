/**
 * tau2-bench as a place to train on: its tasks as requests of engine.rollouts(), with environment, user and reward as callbacks. Main thread.
 *
 * The user's first words stand in the prompt, so that a group's samples share it; from there on each sample has its own world and its own user.
 * Within an episode nothing is retokenised, and the repair turn samples as the others do: a rollout has one sampling.
 */
import { unknownName } from "../../check.js";
import { type Engine, LockstepError, type RolloutRequest } from "../../index.js";
import { isOutcome, type Outcome } from "../domain.js";
import { kTurn, RecordedUser, Tau2Episode } from "./episode.js";
import { Simulation } from "./simulation.js";
import { type Tau2Options, type Tau2Setting, tau2Domain, tau2Setting } from "./tau2.js";
import { engineUser } from "./user/engine.js";
import { userSystemPrompt } from "./user/prompt.js";
import type { Heard, Replying, User, UserReply, UserSession } from "./user/user.js";

export interface Tau2RolloutOptions extends Omit<Tau2Options, "user"> {
  /** Default: the engine itself, see engineUser(). */
  user?: User;
  /** Default "train". */
  split?: string;
  /** Default: all of the split. */
  taskIds?: readonly string[];
  /** "reward": 1 for a solved task, else 0; "partialScore": the share that was done. Default "reward". */
  reward?: "reward" | "partialScore";
  /** Of the users' draws. Default 0. */
  seed?: number;
  /** Hops between participants after which an episode ends. Default 100. */
  maxHops?: number;
}

/** One request per task, in the order of the file; `metadata` is `{ domain, task_id }`. A task's user is asked for the first words when it is its turn. */
export async function* tau2Rollouts(
  engine: Engine,
  options: Tau2RolloutOptions,
): AsyncGenerator<RolloutRequest> {
  const { split = "train", taskIds, user = engineUser({ engine, name: "the engine itself" }) } = options;
  const setting = tau2Setting(options);
  const domain = tau2Domain({ ...options, user });
  if (!domain.splits.includes(split)) throw unknownName(split, `a split of ${domain.name}`, domain.splits);
  const ids = domain.tasks(split).map(({ id }) => id);
  const unknown = taskIds?.find((id) => !ids.includes(id));
  if (unknown !== undefined) throw unknownName(unknown, `a task of ${domain.name}'s ${split} split`, ids);
  for (const id of ids)
    if (taskIds === undefined || taskIds.includes(id))
      yield await new TaskRollout({ ...options, user }, setting, id).request();
}

class TaskRollout {
  #opening: UserReply[] = [];
  constructor(
    private readonly options: Tau2RolloutOptions & { user: User },
    private readonly setting: Tau2Setting,
    private readonly id: string,
  ) {}

  async request(): Promise<RolloutRequest> {
    const { domain, reward: kind = "reward" } = this.options;
    const { first } = await this.#open(0);
    if (isOutcome(first))
      throw new LockstepError("CALLBACK_FAILED", `task ${this.id} did not begin: ${first.error}`);
    return {
      prompt: { messages: first.conversation },
      sampling: kTurn,
      metadata: { domain, task_id: this.id },
      turn: async (sample, { text, state }) => {
        if (state.episode === undefined && sample.turns > 1)
          throw new LockstepError("CALLBACK_FAILED", "a tau2 episode cannot be resumed: its world is gone");
        state.episode ??= await this.#open(sample.sampleIndex);
        const [end] = kTurn.stop;
        const whole = sample.stop === end && !text.endsWith(end!) ? text + end : text;
        const next = await (state.episode as Tau2Episode).step(whole);
        if (!isOutcome(next)) return { messages: next.observation };
        state.outcome = next;
        return undefined;
      },
      reward: (_sample, { state }) => {
        const outcome = (state.outcome ?? {}) as Partial<Outcome>;
        return (kind === "reward" ? outcome.reward : outcome.partialScore) ?? 0;
      },
    };
  }

  /** An episode that begins as the prompt says. */
  async #open(sample: number): Promise<Tau2Episode> {
    const { data, domain, user, seed = 0, maxHops = 100 } = this.options;
    const world = data.domain(domain);
    const task = world.task(this.id);
    const systemPrompt = userSystemPrompt(world.guidelines, task.scenario);
    const role = { domain, task, systemPrompt, tools: this.setting.schemas.user, sample, seed };
    const session = new OpenedUser(user.start(role), this.#opening);
    const recorded = new RecordedUser(session);
    const simulation = new Simulation(world, task, { user: recorded, maxHops });
    await simulation.start();
    this.#opening = session.replies;
    session.opened();
    const identity = { domain, task_id: this.id };
    return new Tau2Episode({ simulation, user: recorded, prompt: this.setting.prompt, identity });
  }
}

/** A user whose first replies are given; while it opens, the others are remembered. */
class OpenedUser implements Replying {
  replies: UserReply[] = [];
  #open = true;
  constructor(
    private readonly session: UserSession,
    private readonly given: readonly UserReply[],
  ) {}

  get usage(): Record<string, number> {
    return this.session.usage ?? {};
  }

  opened(): void {
    this.#open = false;
  }

  async reply(heard: Heard): Promise<UserReply> {
    const given = this.#open ? this.given[this.replies.length] : undefined;
    if (given === undefined) {
      const reply = await this.session.reply(heard);
      if (this.#open) this.replies.push(reply);
      return reply;
    }
    this.session.recall(heard, given);
    this.replies.push(given);
    return given;
  }
}
