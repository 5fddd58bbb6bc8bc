/**
 * Owns what stands between two turns of the model's: from what the environment said to the ids that follow the model's own.
 * Main thread; long texts are rendered and encoded in workers.
 *
 * The model's ids stay as they are. Behind them goes what the chat template writes between an assistant's content and the
 * next generation prompt, found by rendering a conversation whose assistant says a mark: [user, assistant, …messages].
 * Qwen3's templates write that the same whatever stands before the assistant's message. It begins with the end of the
 * assistant's turn, which the model has usually written itself.
 */
import type { ChatMessage } from "../chat/types.js";
import { isPlainObject, reading, tokenIds } from "../check.js";
import { invalid, LockstepError } from "../errors.js";
import { requireText } from "../prompt.js";
import { requireWellFormed } from "../tokenizer/text.js";
import type { RolloutEngine } from "./rollout-engine.js";
import type { Observation, PromptOptions } from "./types.js";

const kForms = ["messages", "text", "tokens"];

/** What a turn callback returned, its form checked; undefined ends the episode. */
export function checkObservation(value: unknown): Observation | undefined {
  if (value === undefined || value === null) return undefined;
  const expected = "nothing, or an object with one of messages, text and tokens,";
  if (!isPlainObject(value)) throw invalid(expected, "what turn returned", value);
  const entries = Object.entries(value).filter(([, part]) => part !== undefined);
  const [form] = entries;
  if (!form || entries.length > 1 || !kForms.includes(form[0]))
    throw invalid(expected, "what turn returned", entries.map(([key]) => key).join(", "));
  return Object.fromEntries(entries) as unknown as Observation;
}

/**
 * The ids that follow `lastToken`, the last of the model's: never none. Undefined where they are more than `room`.
 * `options`: those of the prompt.
 */
export async function observationIds(
  engine: RolloutEngine,
  observation: Observation,
  { lastToken, room, options = {} }: { lastToken: number; room: number; options?: PromptOptions | undefined },
): Promise<Int32Array | undefined> {
  const ids = await reading("what turn returned", () => {
    if ("tokens" in observation) return tokenIds(engine.vocabSize)(observation.tokens, "turn's tokens");
    if ("text" in observation) return encode(engine, observation.text, room);
    return afterAnswer(engine, observation.messages, lastToken, room, options);
  });
  if (ids?.length === 0) throw invalid("at least one token", "what turn returned", observation);
  return ids && ids.length <= room ? ids : undefined;
}

const kMark = "what the model said";
const kBefore: ChatMessage[] = [
  { role: "user", content: "?" },
  { role: "assistant", content: kMark },
];

async function afterAnswer(
  engine: RolloutEngine,
  messages: ChatMessage[],
  lastToken: number,
  room: number,
  { enableThinking, chatTemplate }: PromptOptions,
): Promise<Int32Array | undefined> {
  const { tokenizer, renderer } = requireText(engine.text);
  const { template, variables } = tokenizer.chatTemplateCall(messages, {
    addGenerationPrompt: true,
    ...(enableThinking !== undefined && { enableThinking }),
    ...(chatTemplate !== undefined && { chatTemplate }),
  });
  const { values } = variables; // checked and copied
  values.messages = [...kBefore, ...(values.messages as ChatMessage[])];
  const rendered = await renderer.render(template, variables);
  const at = rendered.indexOf(kMark); // the first: whatever the messages say stands behind it
  if (at < 0)
    throw new LockstepError(
      "TEMPLATE_ERROR",
      "Expected a chat template that writes an assistant's content as it is but it does not: return text or tokens from turn",
    );
  const ids = await encode(engine, rendered.slice(at + kMark.length), room + 1);
  return ids?.[0] === lastToken ? ids.subarray(1) : ids;
}

/** Undefined where the ids are more than `room` for certain. */
async function encode(engine: RolloutEngine, text: unknown, room: number): Promise<Int32Array | undefined> {
  const { tokenizer, encoder } = requireText(engine.text);
  if (typeof text !== "string") throw invalid("a string", "turn's text", text);
  requireWellFormed(text, "what turn returned");
  return tokenizer.fewestTokens(text) > room ? undefined : encoder.encodeAsync(text);
}
