/** What rollouts need of an engine: Engine passes it, so that nothing here knows that class. Types only. */
import type { EngineLimits, Sampling } from "../options.js";
import type { PromptEncoding, TextSide } from "../prompt.js";
import type { Continuation, Generation } from "../stream.js";

export interface RolloutEngine {
  readonly computePath: string;
  readonly vocabSize: number;
  readonly limits: Pick<EngineLimits, "maxContext" | "maxSequences" | "maxQueue">;
  readonly text: TextSide | undefined;
  /** Runs checks of what a call is given, and counts what they refuse. */
  check<T>(checks: () => T): T;
  /** Throws where no request can be taken any more. */
  checkUsable(): void;
  /** Both throw on bad input. */
  checkSampling(options: unknown): Sampling;
  checkPrompt(prompt: unknown): PromptEncoding;
  /** Rejects with what makes a prompt no prompt of this engine. */
  encode(encoding: PromptEncoding): Promise<Int32Array>;
  /** Goes on from `given`, where there is some; never rejects: what fails is the generation's `error`. */
  generate(tokens: Int32Array, sampling: Sampling, given?: Continuation): Promise<Generation>;
}
