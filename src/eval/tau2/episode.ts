/**
 * One attempt at a task with a model as the agent: what it is asked in each turn, and what comes of what it writes (SPEC §2).
 *
 * Owns the agent's conversation and the transcript, which has the recordings' layout, so that a journal can be replayed. Main thread.
 */
import type { ChatMessage } from "../../index.js";
import { strip } from "../../python/text.js";
import { PyError } from "../../python/types.js";
import type { EndReason, Episode, Outcome, Turn } from "../domain.js";
import { environmentAction, type ParsedAction, parseAction } from "./action.js";
import { followUp } from "./observation.js";
import type { AgentPrompt } from "./prompt.js";
import type { Simulation } from "./simulation.js";
import { plain, shownMessage } from "./transcript.js";
import { type ScriptEntry, scriptEntryOf } from "./user/scripted.js";
import type { Heard, Replying, UserReply } from "./user/user.js";

const START = { name: "respond", rawActionCall: "(reset)" };
/** The original's, and ours: everything up to the end of the call is kept. */
export const kTurn = { stop: ["</tool_call>"], includeStop: true };

interface Step {
  assistant_text: string;
  user_script: unknown;
  raw_action_call: string;
  env_action: string;
  observation: string;
  reward: number;
  terminated: boolean;
  followup?: ChatMessage[];
}

/** Remembers what the user replied since it was last asked. */
export class RecordedUser implements Replying {
  #replies: ScriptEntry[] = [];
  constructor(private readonly session: Replying) {}

  get usage(): Record<string, number> {
    return this.session.usage ?? {};
  }

  async reply(heard: Heard): Promise<UserReply> {
    const reply = await this.session.reply(heard);
    this.#replies.push(scriptEntryOf(reply));
    return reply;
  }

  take(): ScriptEntry[] {
    const replies = this.#replies;
    this.#replies = [];
    return replies;
  }
}

export interface EpisodeParts {
  simulation: Simulation;
  user: RecordedUser;
  prompt: AgentPrompt;
  /** What identifies the attempt in its transcript. */
  identity: Record<string, unknown>;
}

export class Tau2Episode implements Episode {
  readonly first: Turn | Outcome;
  readonly #parts: EpisodeParts;
  readonly #opening: Record<string, unknown>;
  readonly #steps: Step[] = [];
  readonly #unparsed: { step: number; text: string }[] = [];
  #conversation: ChatMessage[];
  #taken = 0;
  /** What was wrong with the text that is being repaired. */
  #firstError: string | undefined;

  /** The simulation has been started. */
  constructor(parts: EpisodeParts) {
    const { simulation, user, prompt } = parts;
    this.#parts = parts;
    const observation = followUp(simulation.firstObservation, START);
    this.#opening = {
      user_script: plain(user.take().slice(0, -1)), // the last of them is the first observation
      reset_observation: simulation.firstObservation,
      reset_followup: observation,
    };
    this.#conversation = [{ role: "system", content: prompt.system }, ...observation];
    const { ended } = simulation;
    this.first =
      ended !== undefined && "failed" in ended
        ? this.#failed(ended.failed, ended.error)
        : { conversation: this.#conversation, observation: this.#conversation, sampling: kTurn };
  }

  async step(raw: string): Promise<Turn | Outcome> {
    const text = strip(raw);
    const repairing = this.#firstError !== undefined;
    if (text === "" && !repairing) return this.#failed("empty_generation", "empty_generation");
    let action: ParsedAction;
    try {
      action = parseAction(text);
    } catch (error) {
      if (!(error instanceof PyError)) throw error;
      return this.#unreadable(text, error);
    }
    this.#firstError = undefined;
    this.#taken++;
    this.#conversation = [...this.#conversation, { role: "assistant", content: text }];
    return this.#act(text, action);
  }

  end(reason: EndReason): Outcome {
    return this.#failed(reason, null);
  }

  /** Asked once more, greedily; a second time ends the attempt with what was wrong first. Both texts stay in the conversation. */
  #unreadable(text: string, error: PyError): Turn | Outcome {
    this.#unparsed.push({ step: this.#taken, text });
    if (this.#firstError !== undefined) {
      this.#taken++;
      return this.#failed("parse_error", this.#firstError);
    }
    this.#firstError = error.message;
    const observation: ChatMessage[] = [{ role: "user", content: this.#parts.prompt.repair }];
    this.#conversation = [...this.#conversation, { role: "assistant", content: text }, ...observation];
    const sampling = { ...kTurn, temperature: 0 };
    return { conversation: this.#conversation, observation, sampling, repair: true };
  }

  async #act(text: string, action: ParsedAction): Promise<Turn | Outcome> {
    const { simulation, user } = this.#parts;
    let environmentText: string;
    try {
      environmentText = environmentAction(action);
    } catch (error) {
      if (!(error instanceof PyError)) throw error;
      this.#unparsed.push({ step: this.#taken - 1, text });
      return this.#failed("invalid_respond", error.message);
    }
    const { observation, reward, terminated } = await simulation.step(environmentText);
    const step: Step = {
      ...{ assistant_text: text, user_script: plain(user.take()) },
      ...{
        raw_action_call: action.rawActionCall,
        env_action: environmentText,
        observation,
        reward,
        terminated,
      },
    };
    this.#steps.push(step);
    if (terminated) return this.#ended();
    step.followup = followUp(observation, action);
    this.#conversation = [...this.#conversation, ...step.followup];
    return { conversation: this.#conversation, observation: step.followup, sampling: kTurn };
  }

  #ended(): Outcome {
    const { ended, rewardInfo, partial } = this.#parts.simulation;
    if (ended !== undefined && "failed" in ended) return this.#failed(ended.failed, ended.error);
    const reward = rewardInfo?.reward ?? 0;
    return {
      ...this.#failed("completed", null),
      ...{ success: reward >= 1, reward, partialScore: partial.score, partialComponents: partial.components },
      rewardInfo: rewardInfo === null ? {} : plain(rewardInfo.data),
    };
  }

  /** An outcome without success. */
  #failed(status: string, error: string | null): Outcome {
    const counted = {
      status,
      success: false,
      reward: 0,
      partialScore: 0,
      partialComponents: {},
      steps: this.#taken,
    };
    return {
      ...counted,
      error,
      rewardInfo: {},
      userUsage: this.#parts.user.usage,
      transcript: this.#transcript(),
    };
  }

  #transcript(): Record<string, unknown> {
    const { identity, simulation } = this.#parts;
    const { conversation, ended, rewardInfo } = simulation;
    const graded = ended !== undefined && "termination" in ended;
    return {
      ...identity,
      ...this.#opening,
      steps: this.#steps,
      ...(this.#unparsed.length > 0 ? { unparsed: this.#unparsed } : {}),
      ...(graded ? { termination_reason: ended.termination } : {}),
      ...(rewardInfo !== null ? { reward_info: plain(rewardInfo.data) } : {}),
      trajectory: conversation.messages.map((message, i) => plain(shownMessage(message, i))),
    };
  }
}
