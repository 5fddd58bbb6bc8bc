/** What the commands and `lockstep/eval` offer of tau2-bench. */
export { type DomainName, kDomains, Tau2Data, type Tau2DataOptions } from "./data.js";
export { type ReplayReport, replay } from "./replay.js";
export { type Tau2RolloutOptions, tau2Rollouts } from "./rollouts.js";
export { type Tau2Options, type Tau2Setting, tau2Domain, tau2Setting } from "./tau2.js";
export { type EngineUserOptions, engineUser } from "./user/engine.js";
export { type OpenAiUserOptions, openAiUser } from "./user/openai.js";
export { recordedUser } from "./user/recorded.js";
export { type ScriptEntry, scriptedUser } from "./user/scripted.js";
export type { Heard, User, UserReply, UserRole, UserSession } from "./user/user.js";
