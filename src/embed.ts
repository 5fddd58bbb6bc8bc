/**
 * What embed() is beside its requests: its options, what is put around a text (Qwen3-Embedding's conventions), and the way
 * from pooled hidden states to what the caller reads. Pure.
 */
import { abortSignal, boolean, checkOptions, integer, oneOf, type Schema, text } from "./check.js";
import { LockstepError } from "./errors.js";
import { checkPrompt } from "./prompt.js";

export interface EmbedOptions {
  /** Whose hidden state: the last token's, the mean of all, or the first token's. Default "last". */
  pooling?: "last" | "mean" | "cls" | undefined;
  /** Scale to length 1, so that a dot product is a cosine. Default true. */
  normalize?: boolean | undefined;
  /** Keep so many leading numbers, before normalizing (Matryoshka). Default all, the hidden size. */
  dimensions?: number | undefined;
  /** Of a query: the task, in one sentence. Embedded is "Instruct: {instruct}\nQuery:{text}". Texts only. */
  instruct?: string | undefined;
  /** As for sampling. Default "". */
  cacheSalt?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** EmbedOptions with everything decided. */
export interface Embedding {
  pooling: "last" | "mean" | "cls";
  normalize: boolean;
  dimensions: number;
  instruct?: string;
  cacheSalt: string;
  signal?: AbortSignal;
}

export function checkEmbedding(options: unknown, hiddenSize: number): Embedding {
  const schema: Schema<EmbedOptions> = {
    pooling: oneOf("last", "mean", "cls"),
    normalize: boolean,
    dimensions: integer(1, hiddenSize),
    instruct: text,
    cacheSalt: text,
    signal: abortSignal,
  };
  return {
    ...{ pooling: "last", normalize: true, dimensions: hiddenSize, cacheSalt: "" },
    ...(checkOptions(options, "embed options", schema) as Partial<Embedding>),
  };
}

/** As checkPrompt, of what is to be embedded: a text gets its instruction and the tokenizer's special tokens, ids nothing. */
export const embeddable =
  (instruct: string | undefined): typeof checkPrompt =>
  (prompt, side, limits) => {
    const given = checkPrompt(prompt, side, limits);
    const query = textOf(prompt);
    if (instruct !== undefined && query === undefined)
      throw new LockstepError(
        "INVALID_ARGUMENT",
        "Expected a text for prompt, since instruct goes before texts only, but received tokens or messages",
      );
    if ((prompt as { tokens?: unknown }).tokens !== undefined) return given;
    const instructed = `Instruct: ${instruct}\nQuery:${query}`;
    const encoding = instruct === undefined ? given : checkPrompt(instructed, side, limits);
    const { before, after } = side!.tokenizer.specialTokensAround;
    return {
      ...encoding,
      encode: async (check) => Int32Array.from([...before, ...(await encoding.encode(check)), ...after]),
    };
  };

/** Of a prompt that has been checked. */
const textOf = (prompt: unknown): string | undefined =>
  typeof prompt === "string" ? prompt : (prompt as { text?: string }).text;

/** What is asked of the engine. The first token of a causal model sees itself only, so its hidden state needs no other. */
export function nativeInput(
  tokens: Int32Array,
  { pooling }: Embedding,
): { tokens: Int32Array; pooling: "last" | "mean" } {
  return pooling === "cls" ? { tokens: tokens.subarray(0, 1), pooling: "last" } : { tokens, pooling };
}

/** From pooled hidden states [D]. All arithmetic is in float64, rounded once. */
export function makeVector(pooled: Float64Array, { dimensions, normalize }: Embedding): Float32Array {
  const kept = pooled.subarray(0, dimensions);
  let squares = 0;
  for (const value of kept) squares += value * value;
  const length = normalize && squares > 0 ? Math.sqrt(squares) : 1;
  const vector = new Float32Array(dimensions);
  for (let i = 0; i < dimensions; ++i) vector[i] = kept[i]! / length;
  return vector;
}
