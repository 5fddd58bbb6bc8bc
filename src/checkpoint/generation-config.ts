/**
 * generation_config.json → the sampling defaults of a checkpoint. Main thread; pure.
 * Unknown keys are ignored (transformers writes many), known ones with a wrong type are refused by name.
 * Must not apply the engine's own defaults: what the file does not say stays undefined (no temperature means 1).
 */
import { Fields } from "./fields.js";
import type { JsonObject } from "./strict-json.js";

export interface GenerationConfig {
  /** 0 where the file says `do_sample: false`, whatever temperature stands beside it. */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  eosTokenIds: number[];
}

/** What a checkpoint without the file has. */
export const kNoGenerationConfig: GenerationConfig = Object.freeze({ eosTokenIds: [] });

export function parseGenerationConfig(json: JsonObject, file: string): GenerationConfig {
  const fields = new Fields(json, file);
  const greedy = fields.boolean("do_sample") === false;
  const temperature = fields.number("temperature", 0, 1000);
  const all = {
    temperature: greedy ? 0 : temperature,
    topK: fields.integer("top_k", 0, 2 ** 31 - 1),
    topP: fields.number("top_p", 0, 1),
    minP: fields.number("min_p", 0, 1),
    repetitionPenalty: fields.number("repetition_penalty", 1e-6, 1e6),
  };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(given), eosTokenIds: fields.tokenIds("eos_token_id") };
}
