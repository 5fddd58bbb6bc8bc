/**
 * Owns a checkpoint's tokenizer: text to ids, ids to text, conversations to text.
 *
 * Any thread, synchronous once loaded. Must give Hugging Face's ids and text to the letter. Must not be asked to encode
 * long texts on the main thread: about 2 MB/s of prose, so async-encoder.ts does those in a worker.
 *
 * Splitting (special tokens, NFC, the pre-tokenizer's expression) is @huggingface/tokenizers'; merging is bpe.ts's and
 * decoding is ours: the library's decode looks at every added token for every token, and cannot stream.
 */
import * as huggingface from "@huggingface/tokenizers";
import {
  ChatTemplate,
  type ChatTemplateOptions,
  FULL,
  templateVariables,
  type Variables,
} from "../chat/template.js";
import type { ChatMessage } from "../chat/types.js";
import { boolean, checkOptions, isList, reading } from "../check.js";
import { invalid, LockstepError, notConstructible } from "../errors.js";
import { Bpe } from "./bpe.js";
import { DecodeStream } from "./decode-stream.js";
import { longestText } from "./fewest-tokens.js";
import { malformed, readTokenizerFiles, type TokenizerFiles } from "./files.js";
import { orderLongMarkRuns } from "./normalize.js";
import type { SpecialTokensAround } from "./post-processor.js";
import { bytesOfToken, decodeUtf8, requireWellFormed } from "./text.js";

export interface DecodeOptions {
  /** Leave out the tokens in `specialTokenIds`. Default: false. */
  skipSpecialTokens?: boolean;
}

/** What we use of the library, whose types NodeNext cannot resolve. */
interface Library {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  /** Its byte-pair model calls `bpe` for each pre-token, and looks ids up in the map. */
  model: { bpe(word: string): string[]; tokens_to_ids: ReadonlyMap<string, number> };
}
const Library = huggingface.Tokenizer as unknown as new (json: object, config: object) => Library;

/** More compiled templates than anyone alternates between. */
const CACHED_TEMPLATES = 16;

/** What only Tokenizer.fromDirectory can pass to the constructor. */
const kFromDirectory = Symbol("Tokenizer.fromDirectory");

export class Tokenizer {
  /** One above the highest id. A model's vocab_size may be larger: its padding rows have no token. */
  readonly vocabularySize: number;
  /** The id of tokenizer_config.json's eos_token. generation_config.json may name further ones. */
  readonly eosTokenId: number | undefined;
  /** The ids that `skipSpecialTokens` leaves out. */
  readonly specialTokenIds: ReadonlySet<number>;
  /** What `encode` does not add: the ids that the tokenizer puts before and after a text to be embedded. */
  readonly specialTokensAround: Readonly<SpecialTokensAround>;
  /** SHA-256 of tokenizer.json. */
  readonly fingerprint: string;

  readonly #library: Library;
  readonly #composes: boolean;
  readonly #longestText: number;
  readonly #tokens: readonly (string | undefined)[]; // by id
  readonly #bytes: (Uint8Array | undefined)[] = []; // by id, filled on first use
  readonly #specialTokens: Readonly<Record<string, string>>;
  readonly #chatTemplate: string | undefined;
  readonly #templates = new Map<string, ChatTemplate>(); // by source

  /** Throws NO_TOKENIZER without a tokenizer.json, INVALID_CHECKPOINT with the file's name and the reason for a bad one. */
  static async fromDirectory(directory: string): Promise<Tokenizer> {
    if (typeof directory !== "string") throw invalid("a string", "the tokenizer's directory", directory);
    const files = await readTokenizerFiles(directory);
    try {
      return new Tokenizer(kFromDirectory, files);
    } catch (cause) {
      // What the checks let through and the library refuses: an unknown pre-tokenizer, a bad expression.
      throw malformed(directory, "tokenizer.json", (cause as Error).message, cause);
    }
  }

  private constructor(from: typeof kFromDirectory, files: TokenizerFiles) {
    if (from !== kFromDirectory)
      throw notConstructible("a tokenizer", "await Tokenizer.fromDirectory(directory)");
    const { ids, tokens } = files;
    const bpe = new Bpe(ids, tokens, files.merges);
    // Without vocabulary and merges, which are ours: indexing them is nearly all of the library's start.
    const model = { ...(files.json.model as object), vocab: {}, merges: [] };
    this.#library = new Library({ ...files.json, model }, {});
    this.#library.model.tokens_to_ids = ids;
    this.#library.model.bpe = (word) => bpe.split(word);
    this.#composes = (files.json.normalizer as { type?: unknown } | null)?.type === "NFC";
    this.#longestText = longestText(files);
    this.#tokens = tokens;
    this.vocabularySize = tokens.length;
    this.specialTokensAround = files.around;
    this.fingerprint = files.fingerprint;

    const special = new Set<number>();
    for (const token of files.addedTokens) if (token.special) special.add(token.id);
    for (const token of [...Object.values(files.specialTokens), ...files.additionalSpecialTokens]) {
      const id = ids.get(token);
      if (id !== undefined) special.add(id);
    }
    this.specialTokenIds = special;
    this.#specialTokens = files.specialTokens;
    const eos = files.specialTokens.eos_token;
    this.eosTokenId = eos === undefined ? undefined : ids.get(eos);
    this.#chatTemplate = files.chatTemplate;
  }

  /** Without one, `applyChatTemplate` needs its `chatTemplate`. */
  get hasChatTemplate(): boolean {
    return this.#chatTemplate !== undefined;
  }

  /** The ids of `text`. No special tokens are added; those written out in the text are recognised. */
  encode(text: string): number[] {
    if (typeof text !== "string") throw invalid("a string", "the text to encode", text);
    requireWellFormed(text, "the text to encode");
    const ordered = this.#composes ? orderLongMarkRuns(text) : text;
    return this.#library.encode(ordered, { add_special_tokens: false }).ids;
  }

  /** A lower bound of what `encode` gives, from the text's length: no work, however long it is. */
  fewestTokens(text: string): number {
    if (typeof text !== "string") throw invalid("a string", "the text to count", text);
    return Math.ceil(text.length / this.#longestText);
  }

  /** The text of `ids`. Ids without a token (a model's padding rows) give nothing; invalid UTF-8 gives U+FFFD. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string {
    const { skipSpecialTokens = false } = checkDecodeOptions(options);
    const parts: Uint8Array[] = [];
    reading("ids to decode", () => {
      if (!isList(ids)) throw invalid("an array of token ids", "the ids to decode", ids);
      const { length } = ids;
      for (let i = 0; i < length; ++i) {
        const id = ids[i];
        if (!isTokenId(id)) throw invalid("an integer in [0, 2^31)", `the token id at index ${i}`, id);
        if (!skipSpecialTokens || !this.specialTokenIds.has(id)) parts.push(this.tokenBytes(id));
      }
    });
    return decodeUtf8(Buffer.concat(parts));
  }

  /** Decodes token by token, see DecodeStream. */
  decodeStream(options?: DecodeOptions): DecodeStream {
    const { skipSpecialTokens = false } = checkDecodeOptions(options);
    const skipped = skipSpecialTokens ? this.specialTokenIds : new Set<number>();
    return new DecodeStream((id) => {
      return skipped.has(id) ? NO_BYTES : this.tokenBytes(id);
    });
  }

  /** The bytes that a token stands for: not always whole characters. Empty for an id without a token. */
  tokenBytes(id: number): Uint8Array {
    if (!isTokenId(id)) throw invalid("an integer in [0, 2^31)", "the token id", id);
    const known = this.#bytes[id];
    if (known) return known;
    const token = this.#tokens[id];
    if (token === undefined) return NO_BYTES;
    const bytes = bytesOfToken(token);
    this.#bytes[id] = bytes;
    return bytes;
  }

  /** A conversation as the model reads it. The default of addGenerationPrompt is Hugging Face's: false. */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    const { template, variables } = this.chatTemplateCall(messages, options);
    return template.renderVariables(variables.values, FULL);
  }

  /** What applyChatTemplate renders, for whoever renders it elsewhere. @internal */
  chatTemplateCall(
    messages: readonly ChatMessage[],
    options: ChatTemplateOptions = {},
  ): { template: ChatTemplate; variables: Variables } {
    const given = reading("chatTemplate", () => (options as ChatTemplateOptions | null)?.chatTemplate);
    if (given !== undefined && typeof given !== "string") throw invalid("a string", "chatTemplate", given);
    const source = given ?? this.#chatTemplate;
    if (source === undefined)
      throw new LockstepError(
        "TEMPLATE_ERROR",
        "This checkpoint has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json): pass chatTemplate",
      );
    const variables = templateVariables(messages, options, this.#specialTokens);
    return { template: this.#cached(source), variables };
  }

  #cached(source: string): ChatTemplate {
    let template = this.#templates.get(source);
    if (!template) {
      template = new ChatTemplate(source);
      if (this.#templates.size >= CACHED_TEMPLATES) this.#templates.clear();
      this.#templates.set(source, template);
    }
    return template;
  }
}

const checkDecodeOptions = (options: unknown): DecodeOptions =>
  checkOptions<DecodeOptions>(options, "decode options", { skipSpecialTokens: boolean });

const NO_BYTES = new Uint8Array(0);

function isTokenId(id: unknown): id is number {
  return typeof id === "number" && Number.isInteger(id) && id >= 0 && id < 2 ** 31;
}
