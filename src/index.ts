/** Public exports only. */
export type { ChatMessage, Tool, ToolCall } from "./chat/types.js";
export type { PauseOptions, RunningMode } from "./control.js";
export { type DoctorReport, doctor } from "./doctor.js";
export { Engine, type EngineStats, type Samples } from "./engine.js";
export { type ErrorCode, type ErrorCounts, LockstepError } from "./errors.js";
export { type Floors, type FloorsOptions, measureFloors } from "./floors.js";
export type {
  LoadOptions,
  LoadProgress,
  LogitBias,
  SamplingOptions,
  ScoreOptions,
} from "./options.js";
export type { Prompt } from "./prompt.js";
export { samplingDistribution, type TokenHistory } from "./sampling-distribution.js";
export type { Score } from "./score.js";
export type { Generation, StreamChunk, TokenLogprob, Usage } from "./stream.js";
export { Tokenizer } from "./tokenizer/tokenizer.js";
