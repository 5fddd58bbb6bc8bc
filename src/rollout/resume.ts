/** Going on from a sample that was interrupted: in this process, or in another that read it from a file. Main thread. */
import { onAbort } from "../signals.js";
import { Episode } from "./episode.js";
import { checkEpisodeOptions, planOf } from "./options.js";
import type { RolloutEngine } from "./rollout-engine.js";
import { checkSample } from "./sample.js";
import type { RolloutSample } from "./types.js";

/**
 * Where it was interrupted decides what comes: the rest of the model's turn; `turn`, again, where that had not answered;
 * or the reward, where only that is missing. Rejects on bad input; what fails later is the sample's `error`.
 */
export async function resume(
  engine: RolloutEngine,
  given: unknown,
  options: unknown,
): Promise<RolloutSample> {
  engine.checkUsable();
  const { signal, ...callbacks } = checkEpisodeOptions(options);
  const sample = engine.check(() => checkSample(given, engine));
  const plan = planOf(engine, sample);
  const episode = new Episode(engine, { ...plan, ...callbacks }, sample);
  const forget = onAbort(signal, () => episode.abort());
  if (signal?.aborted) episode.abort();
  await episode.play();
  await episode.judge();
  forget();
  return episode.sample;
}
