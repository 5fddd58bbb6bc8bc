/**
 * One request's output, from engine events to what the caller reads: detokenized, cut at stop strings, with logprobs.
 * Main thread. It grows a Generation and hands out what is new since the last read; a reader that never comes costs no
 * more than the finished Generation.
 */
import { parseToolCalls } from "./chat/tool-calls.js";
import type { ToolCall } from "./chat/types.js";
import type { RequestEvent } from "./connection.js";
import { invalid, type LockstepError } from "./errors.js";
import { Finish, type NativeLogprobs } from "./native.js";
import type { Sampling } from "./options.js";
import type { DecodeStream } from "./tokenizer/decode-stream.js";
import { StopMatcher } from "./tokenizer/stop-strings.js";
import type { Tokenizer } from "./tokenizer/tokenizer.js";

export interface TokenLogprob {
  token: number;
  logprob: number;
}

export interface Usage {
  /** 0 where the request was aborted before its text was encoded: nobody has counted them. */
  promptTokens: number;
  completionTokens: number;
  /** Tokens whose K and V came from the prefix cache: of the prompt, and of a resumed output. */
  cachedTokens: number;
}

/** Output tokens [from, to) were drawn with the weights of this version. */
export interface WeightSpan {
  version: number;
  from: number;
  to: number;
}

export interface Generation {
  /** The output without special tokens and without what stopped it; "" where the checkpoint has no tokenizer. */
  text: string;
  /** The output's ids, a stop or EOS token included. */
  tokens: number[];
  /** Log-softmax of the raw logits. With `logprobs: true`, as the next two. */
  logprobs?: number[];
  /** Log-softmax after penalties, bias and temperature, before topK, topP and minP. */
  temperatureLogprobs?: number[];
  /** Log-probability in the distribution sampled from; 0 at temperature 0. */
  samplingLogprobs?: number[];
  /** With `topLogprobs: k`: the k most likely tokens at each position, by raw logits. */
  topLogprobs?: TokenLogprob[][];
  /** With `keptTokenIds: true`: what topK, topP and minP left at each position, ascending; one id at temperature 0. */
  keptTokenIds?: number[][];
  /** With `promptLogprobs: true`: of each prompt token, as `logprobs`; null for the first. */
  promptLogprobs?: (number | null)[];
  finishReason: "stop" | "length" | "abort";
  /** What stopped it: a stop string, or the id of a stop or EOS token. */
  stop?: string | number;
  seed: number;
  sampleIndex: number;
  usage: Usage;
  /** Of the weights at the end. */
  weightVersion: number;
  /** Which weights drew which output tokens. */
  weightVersions: WeightSpan[];
  toolCalls?: ToolCall[];
  /** In an array result: why this element ended early. The rest of the element is what exists. */
  error?: LockstepError;
}

/** What an interrupted sample has already: one entry of each list per output token. An aborted Generation is one. */
export type Continuation = Pick<Generation, "tokens" | (typeof kPerToken)[number]>;

/** Lists of a Generation, where they are asked for. */
const kPerToken = [
  "logprobs",
  "temperatureLogprobs",
  "samplingLogprobs",
  "topLogprobs",
  "keptTokenIds",
] as const;

export interface StreamChunk {
  text: string;
  tokens: number[];
  logprobs?: number[];
  /** On the last chunk. */
  generation?: Generation;
}

/** Row `index` of the top logprobs; each row has the same number of entries. */
export function topLogprobsRow(rows: NativeLogprobs, index: number): TokenLogprob[] {
  const width = rows.topTokens.length / rows.logprobs.length;
  return Array.from({ length: width }, (_, i) => ({
    token: rows.topTokens[index * width + i]!,
    logprob: rows.topLogprobs[index * width + i]!,
  }));
}

const kFinishReasons = { [Finish.stop]: "stop", [Finish.length]: "length", [Finish.abort]: "abort" } as const;

export class GenerationStream implements AsyncIterableIterator<StreamChunk> {
  readonly #sampling: Sampling;
  readonly #decode: DecodeStream | undefined;
  readonly #matcher: StopMatcher;
  readonly #abort: () => void;
  readonly #text: string[] = [];
  readonly #generation: Generation;
  #pendingText = "";
  #pendingFrom = 0; // tokens from here on have not been read
  #stopped = false; // a stop string was found; what the engine still sends is dropped
  #state: "open" | "ended" | "read" = "open"; // read: the last chunk was handed out
  #wake: (() => void) | undefined;

  /** `abort` is called where abort() is, or the reader leaves early. */
  constructor(
    sampling: Sampling,
    tokenizer: Tokenizer | undefined,
    weightVersion: number,
    abort: () => void,
  ) {
    this.#sampling = sampling;
    this.#decode = tokenizer?.decodeStream({ skipSpecialTokens: true });
    this.#matcher = new StopMatcher(sampling.stop, { includeStop: sampling.includeStop });
    this.#abort = abort;
    this.#generation = {
      text: "",
      tokens: [],
      ...(sampling.logprobs && { logprobs: [], temperatureLogprobs: [], samplingLogprobs: [] }),
      ...(sampling.topLogprobs > 0 && { topLogprobs: [] }),
      ...(sampling.keptTokenIds && { keptTokenIds: [] }),
      finishReason: "abort",
      seed: sampling.seed,
      sampleIndex: sampling.sampleIndex,
      usage: { promptTokens: 0, completionTokens: 0, cachedTokens: 0 },
      weightVersion,
      weightVersions: [],
    };
  }

  get ended(): boolean {
    return this.#state !== "open";
  }

  set promptTokens(count: number) {
    this.#generation.usage.promptTokens = count;
  }

  /**
   * Before the first event: takes over what an earlier sample with the same prompt and options came to, so that the rest
   * makes of it what it would have become uninterrupted. Ends at once where a stop string or id ends it. Chunks hold
   * what is new only. The given tokens count as made under the present weights: whoever has them knows better.
   */
  resume(given: Continuation): void {
    const { tokens } = given;
    for (const key of kPerToken) {
      if (!this.#generation[key]) continue;
      if (given[key]?.length !== tokens.length)
        throw invalid(`a list as long as tokens (${tokens.length})`, key, given[key]);
      Object.assign(this.#generation, { [key]: [...given[key]] });
    }
    const { minTokens, stopTokenIds } = this.#sampling;
    // The rule of native/engine/sampler.cpp. Earlier ones did not end it, or there would be no later ones.
    const ends = tokens.length > minTokens && stopTokenIds.includes(tokens.at(-1)!);
    const finish = ends ? Finish.stop : Finish.none;
    for (const [i, token] of tokens.entries())
      this.#takeToken(token, i === tokens.length - 1 ? finish : Finish.none, this.#generation.weightVersion);
    this.#pendingFrom = tokens.length;
    this.#pendingText = "";
    if (ends || this.#stopped) this.#end({ finish });
  }

  /** Ends it where it has so many tokens already, as a resumed sample may. */
  endAtLength(maxTokens: number): void {
    if (this.#state === "open" && this.#generation.tokens.length >= maxTokens)
      this.#end({ finish: Finish.length });
  }

  /** Takes a step's event. Returns true where a stop string was found: the engine need not go on. */
  take(event: RequestEvent): boolean {
    const already = this.#stopped;
    if (event.token >= 0 && !already) {
      this.#takeLogprobs(event);
      this.#takeToken(event.token, event.finish, event.weightVersion);
    }
    if (event.finish !== Finish.none) this.#end(event);
    else this.#notify();
    return this.#stopped && !already && event.finish === Finish.none;
  }

  /** Asks for the end; it comes as an event, or at once where nothing was submitted. */
  abort(): void {
    if (this.#state === "open") this.#abort();
  }

  /** Ends it without the engine: aborted before it was submitted, or with an error. */
  endEarly(error?: LockstepError): void {
    if (this.#state === "open") this.#end({ finish: error ? Finish.error : Finish.abort, error });
  }

  /** Resolves at the end; with `generation.error` set where it ended in an error. */
  async settled(): Promise<Generation> {
    while (this.#state === "open") await this.#changed();
    return this.#generation;
  }

  async next(): Promise<IteratorResult<StreamChunk, undefined>> {
    for (;;) {
      if (this.#state === "read") return { done: true, value: undefined };
      if (this.#state === "ended") {
        this.#state = "read";
        if (this.#generation.error) throw this.#generation.error;
        return { done: false, value: { ...this.#takeChunk(), generation: this.#generation } };
      }
      if (this.#pendingFrom < this.#generation.tokens.length)
        return { done: false, value: this.#takeChunk() };
      await this.#changed();
    }
  }

  async return(): Promise<IteratorResult<StreamChunk, undefined>> {
    this.abort();
    this.#state = "read";
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #takeLogprobs(event: RequestEvent): void {
    const generation = this.#generation;
    generation.logprobs?.push(event.logprob);
    generation.temperatureLogprobs?.push(event.temperatureLogprob);
    generation.samplingLogprobs?.push(event.samplingLogprob);
    if (event.sampled) generation.topLogprobs?.push(topLogprobsRow(event.sampled, 0));
    if (event.keptTokenIds) generation.keptTokenIds?.push(Array.from(event.keptTokenIds));
  }

  #takeToken(token: number, finish: number, weightVersion: number): void {
    const { tokens, weightVersions } = this.#generation;
    extendSpans(weightVersions, weightVersion, tokens.push(token));
    if (finish === Finish.stop) this.#generation.stop = token;
    const hidden = finish === Finish.stop && !this.#sampling.includeStop;
    if (!hidden && this.#decode) this.#takeText(this.#decode.push(token));
  }

  #takeText(piece: string): void {
    // Text of the first minTokens tokens cannot stop anything.
    const matched = this.#generation.tokens.length > this.#sampling.minTokens;
    const { emit, stop } = matched ? this.#matcher.push(piece) : { emit: piece };
    this.#text.push(emit);
    this.#pendingText += emit;
    if (stop === undefined || this.#stopped) return;
    this.#stopped = true;
    this.#generation.stop = stop;
  }

  #end(event: Partial<RequestEvent> & { finish: number }): void {
    const { finish, error, cachedTokens = 0, scored, weightVersion } = event;
    if (!this.#stopped) {
      this.#takeText(this.#decode?.flush() ?? ""); // half a character may end in a stop string
      const held = this.#matcher.flush();
      this.#text.push(held);
      this.#pendingText += held;
    }
    const generation = this.#generation;
    generation.text = this.#text.join("");
    generation.weightVersion = weightVersion ?? generation.weightVersion;
    generation.usage.completionTokens = generation.tokens.length;
    generation.usage.cachedTokens = Math.max(0, cachedTokens);
    if (this.#sampling.promptLogprobs) generation.promptLogprobs = [null, ...(scored?.logprobs ?? [])];
    generation.finishReason = this.#stopped ? "stop" : (kFinishReasons[finish as 1 | 2 | 3] ?? "abort");
    // Whatever went wrong behind the stop string is nobody's business: the engine ran on until it heard of it.
    if (error && !this.#stopped) generation.error = error;
    const toolCalls = parseToolCalls(generation.text);
    if (toolCalls.length > 0) generation.toolCalls = toolCalls;
    if (this.#state === "open") this.#state = "ended";
    this.#notify();
  }

  #takeChunk(): StreamChunk {
    const { tokens, logprobs } = this.#generation;
    const from = this.#pendingFrom;
    this.#pendingFrom = tokens.length;
    const text = this.#pendingText;
    this.#pendingText = "";
    return { text, tokens: tokens.slice(from), ...(logprobs && { logprobs: logprobs.slice(from) }) };
  }

  /** Resolves at the next event. One waiter at a time is enough: a request has one reader. */
  #changed(): Promise<void> {
    const previous = this.#wake;
    return new Promise((resolve) => {
      this.#wake = () => {
        previous?.();
        resolve();
      };
    });
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/** The spans, and one more up to token `to`. */
export function extendSpans(spans: WeightSpan[], version: number, to: number): void {
  const last = spans.at(-1);
  const from = last?.to ?? 0;
  if (to === from) return;
  if (last?.version === version) spans[spans.length - 1] = { version, from: last.from, to };
  else spans.push({ version, from, to });
}
