/** Types of the demo's JavaScript. */
declare module "*/demo/home.mjs" {
  import type { ToolCall } from "lockstep";
  export function callTool(home: object, call: ToolCall): string;
  export function sameHome(a: object, b: object): boolean;
}

declare module "*/demo/episode.mjs" {
  import type { Engine, Tool } from "lockstep";
  export function runEpisode(
    engine: Engine,
    task: object,
    domain: { system: string; tools: Tool[] },
  ): Promise<{ success: boolean; turns: { tokens: number[]; promptTokens: number }[] }>;
}
