/**
 * Owns the loss mask of conversations that were not sampled here: which tokens a trainer learns from, by slime's rule for
 * Qwen3 (`--loss-mask-type qwen3`). Any thread, synchronous.
 *
 * The ids are slime's too, and are not always those of the conversation rendered whole: each message is rendered alone,
 * beside a message of the user's, so that every assistant turn keeps its thinking (a Qwen3 template drops it from turns
 * before the user's last message). Must not guess: a template for which that rule means nothing is refused.
 */
import { FULL } from "../chat/template.js";
import type { ChatMessage, Tool } from "../chat/types.js";
import { checkOptions, oneOf, string } from "../check.js";
import { invalid, LockstepError } from "../errors.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";

export interface LossMaskOptions {
  /** Shown to the template with the first message. */
  tools?: readonly Tool[] | null | undefined;
  /** slime's name of the rule. Default "qwen3", the only one. */
  type?: "qwen3" | undefined;
  /** Default: the checkpoint's. */
  chatTemplate?: string | undefined;
}

/** `mask[i]` is 1 where token i is an assistant's, from behind the tokens that begin its turn to what ends it. */
export interface LossMask {
  tokens: number[];
  mask: number[];
}

const kBeside: ChatMessage = { role: "user", content: "FOR CALCULATING LOSS MASK ONLY" };

/**
 * Tokens and loss mask of a whole conversation. An assistant message with `step_loss_mask: 0` is masked out.
 * Throws INVALID_ARGUMENT, and TEMPLATE_ERROR where the template fails or does not render each message by itself.
 */
export function lossMask(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options?: LossMaskOptions,
): LossMask {
  if (!(tokenizer instanceof Tokenizer))
    throw invalid("engine.tokenizer or await Tokenizer.fromDirectory(directory)", "tokenizer", tokenizer);
  const { tools, chatTemplate } = checkOptions<LossMaskOptions>(options, "lossMask options", {
    tools: (value) => value as readonly Tool[] | null, // the template's options check them
    type: oneOf("qwen3"),
    chatTemplate: string,
  });
  const { template, variables } = tokenizer.chatTemplateCall(messages, {
    ...(tools && { tools }),
    ...(chatTemplate !== undefined && { chatTemplate }),
  });
  const { values } = variables; // checked and copied
  const ids = (turn: readonly ChatMessage[], more: Record<string, unknown> = {}) =>
    tokenizer.encode(template.renderVariables({ ...values, tools: null, messages: turn, ...more }, FULL));

  const beside = ids([kBeside]);
  const opening = ids([kBeside], { add_generation_prompt: true }).length - beside.length;
  const result: LossMask = { tokens: [], mask: [] };
  let place = 0;
  for (const turn of turnsOf(values.messages as ChatMessage[])) {
    const own =
      place === 0
        ? withoutEnd(ids([...turn, kBeside], { tools: values.tools }), beside)
        : withoutStart(ids([kBeside, ...turn]), beside);
    if (own === undefined) throw notSeparable(place);
    const learnt = isLearnt(turn[0]!, place);
    own.forEach((id, i) => {
      result.tokens.push(id);
      result.mask.push(learnt && i >= opening ? 1 : 0);
    });
    place += turn.length;
  }
  return result;
}

/** Each message by itself, and the tool messages in a row, which Qwen3's templates put into one turn. */
function turnsOf(messages: readonly ChatMessage[]): ChatMessage[][] {
  const turns: ChatMessage[][] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    if (message.role === "tool" && last?.[0]?.role === "tool") last.push(message);
    else turns.push([message]);
  }
  return turns;
}

function isLearnt({ role, step_loss_mask: step }: ChatMessage, place: number): boolean {
  if (step !== undefined && ![0, 1, true, false].includes(step as number))
    throw invalid("0 or 1", `messages[${place}].step_loss_mask`, step);
  return role === "assistant" && (step === undefined || Number(step) === 1);
}

function withoutStart(ids: number[], start: number[]): number[] | undefined {
  return start.every((id, i) => id === ids[i]) ? ids.slice(start.length) : undefined;
}

function withoutEnd(ids: number[], end: number[]): number[] | undefined {
  const rest = ids.length - end.length;
  return end.every((id, i) => id === ids[rest + i]) ? ids.slice(0, rest) : undefined;
}

function notSeparable(place: number): LockstepError {
  return new LockstepError(
    "TEMPLATE_ERROR",
    `Expected a chat template that renders each message by itself (as Qwen3's do) but this one does not, with messages[${place}]: ` +
      "its tokens cannot be told from those beside it",
  );
}
