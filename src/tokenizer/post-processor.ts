/**
 * Owns the special tokens that a tokenizer puts around a text: `encode` leaves them out, embeddings need them
 * (Qwen3-Embedding's <|endoftext|> at the end). Any thread. Must not guess: a post-processor that it does not know is
 * refused.
 */
import { show } from "../errors.js";

export interface SpecialTokensAround {
  before: number[];
  after: number[];
}

type Fail = (reason: string) => Error;

const kNone: SpecialTokensAround = { before: [], after: [] };

/** What tokenizer.json's `post_processor` adds to a single text. */
export function specialTokensAround(processor: unknown, fail: Fail): SpecialTokensAround {
  if (processor === null || processor === undefined) return kNone;
  const { type, processors, ...template } = processor as Record<string, unknown>;
  if (type === "ByteLevel") return kNone;
  if (type === "TemplateProcessing") return aroundSequence(template as Template, fail);
  if (type !== "Sequence" || !Array.isArray(processors))
    throw fail(
      `post_processor.type is ${show(type)}; only 'TemplateProcessing', 'ByteLevel' and a 'Sequence' of them are supported`,
    );
  return processors
    .map((part) => specialTokensAround(part, fail))
    .reduce((inner, outer) => {
      return { before: [...outer.before, ...inner.before], after: [...inner.after, ...outer.after] };
    }, kNone);
}

interface Template {
  single?: ({ SpecialToken?: { id?: string } } | null)[];
  special_tokens?: Record<string, { ids?: number[] } | null>;
}

function aroundSequence({ single, special_tokens }: Template, fail: Fail): SpecialTokensAround {
  const malformed = (): Error =>
    fail(`post_processor.single is ${JSON.stringify(single)}, not a text among special tokens that have ids`);
  if (!Array.isArray(single)) throw malformed();
  const text = single.findIndex((piece) => piece?.SpecialToken === undefined);
  const idsOf = (pieces: typeof single): number[] =>
    pieces.flatMap((piece) => {
      const ids = special_tokens?.[piece?.SpecialToken?.id ?? ""]?.ids;
      if (!Array.isArray(ids) || !ids.every((id) => Number.isInteger(id) && id >= 0)) throw malformed();
      return ids;
    });
  if (text < 0) throw malformed();
  return { before: idsOf(single.slice(0, text)), after: idsOf(single.slice(text + 1)) };
}
