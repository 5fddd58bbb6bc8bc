/** Types of the demo's JavaScript. */
declare module "*/demo/episode.mjs" {
  import type { Engine } from "lockstep";
  export function runEpisode(
    engine: Engine,
    domain: object,
    task: object,
  ): Promise<{ success: boolean; turns: { tokens: number[]; promptTokens: number }[] }>;
}
