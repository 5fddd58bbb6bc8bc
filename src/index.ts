/** Public exports only. */
export type { ChatMessage, Tool, ToolCall } from "./chat/types.js";
export type {
  PauseOptions,
  RunningMode,
  SleepOptions,
  UpdateOptions,
  WeightData,
  WeightInfo,
} from "./control.js";
export { type DoctorReport, doctor } from "./doctor.js";
export type { EmbedOptions } from "./embed.js";
export { Engine, type Samples } from "./engine.js";
export { type ErrorCode, type ErrorCounts, LockstepError } from "./errors.js";
export { type Floors, type FloorsOptions, measureFloors } from "./floors.js";
export type {
  LoadOptions,
  LoadProgress,
  LogitBias,
  SamplingOptions,
  ScoreOptions,
} from "./options.js";
export type { KernelProfile, Profile } from "./profile.js";
export type { Prompt } from "./prompt.js";
export { type LossMask, type LossMaskOptions, lossMask } from "./rollout/loss-mask.js";
export type { RolloutRequests, Rollouts } from "./rollout/rollouts.js";
export { type SlimeSample, toSlimeSample } from "./rollout/slime-sample.js";
export type {
  CallbackContext,
  CancelContext,
  EpisodeOptions,
  Observation,
  RewardCallback,
  RolloutOptions,
  RolloutRequest,
  RolloutSample,
  RolloutSampling,
  RolloutStats,
  RunningSample,
  TurnCallback,
} from "./rollout/types.js";
export { samplingDistribution, type TokenHistory } from "./sampling-distribution.js";
export type { Score } from "./score.js";
export type { EngineStats } from "./stats.js";
export type { Generation, StreamChunk, TokenLogprob, Usage, WeightSpan } from "./stream.js";
export { Tokenizer } from "./tokenizer/tokenizer.js";
export type { NamedTensor, NamedTensors, WeightsSource } from "./weights.js";
