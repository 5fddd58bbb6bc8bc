/**
 * Owns reading and checking a checkpoint's tokenizer files: tokenizer.json, tokenizer_config.json, chat_template.jinja.
 *
 * Any thread; asynchronous reads. Must not trust a file: whatever is wrong in one is INVALID_CHECKPOINT with its name
 * and the reason, before the tokenizer library sees it. Must not support what Qwen3 does not have: a tokenizer that is
 * not a byte-level BPE is refused.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { invalid, LockstepError, show } from "../errors.js";
import { forEachInTurns } from "../turns.js";
import { MAX_MERGES, type Merges } from "./bpe.js";
import { type SpecialTokensAround, specialTokensAround } from "./post-processor.js";

type Json = Record<string, unknown>;

export interface AddedTokenEntry {
  id: number;
  content: string;
  special: boolean;
}

export interface TokenizerFiles {
  /** tokenizer.json, checked. */
  json: Json;
  /** Of the vocabulary's tokens and the added ones. */
  ids: Map<string, number>;
  /** By id: the other way round. */
  tokens: (string | undefined)[];
  merges: Merges;
  addedTokens: AddedTokenEntry[];
  /** bos_token, eos_token and so on, as far as tokenizer_config.json sets them. */
  specialTokens: Record<string, string>;
  additionalSpecialTokens: string[];
  chatTemplate: string | undefined;
  around: SpecialTokensAround;
  /** SHA-256 of tokenizer.json: two tokenizers with the same one give the same ids. */
  fingerprint: string;
}

/** Ids index arrays; Qwen3's vocabulary has 151,936. */
const MAX_ID = 2 ** 24;
const NAMED_TOKENS = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
];

export async function readTokenizerFiles(directory: string): Promise<TokenizerFiles> {
  if (typeof directory !== "string" || directory === "") throw invalid("a path", "the directory", directory);
  const bytes = await readOptional(directory, "tokenizer.json");
  if (!bytes) throw new LockstepError("NO_TOKENIZER", `There is no tokenizer.json in '${directory}'`);
  const json = parseObject(bytes, directory, "tokenizer.json");
  const configBytes = await readOptional(directory, "tokenizer_config.json");
  const config = configBytes ? parseObject(configBytes, directory, "tokenizer_config.json") : {};
  const jinja = await readOptional(directory, "chat_template.jinja");
  const fail = (reason: string) => malformed(directory, "tokenizer.json", reason);
  const failConfig = (reason: string) => malformed(directory, "tokenizer_config.json", reason);
  const model = checkModel(json, fail);
  const vocabulary = await checkVocabulary(model, fail);
  const merges = await checkMerges(model, vocabulary, fail); // of the vocabulary alone, so before the added tokens
  const { ids, tokens } = vocabulary;
  const addedTokens = checkAddedTokens(json, tokens, fail);
  for (const { id, content } of addedTokens) ids.set(content, id);
  const specialTokens = readSpecialTokens(config, failConfig);
  return {
    json,
    ids,
    tokens,
    merges,
    addedTokens,
    specialTokens,
    additionalSpecialTokens: readAdditionalTokens(config, failConfig),
    chatTemplate: jinja ? decode(jinja, directory, "chat_template.jinja") : readTemplate(config, failConfig),
    around: readAround(specialTokensAround(json.post_processor, fail), config, specialTokens, ids),
    fingerprint: createHash("sha256").update(bytes).digest("hex"),
  };
}

export function malformed(directory: string, file: string, reason: string, cause?: unknown): LockstepError {
  return new LockstepError("INVALID_CHECKPOINT", `${join(directory, file)}: ${reason}`, { cause });
}

async function readOptional(directory: string, file: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(join(directory, file));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw malformed(directory, file, `cannot be read (${message})`, cause);
  }
}

function decode(bytes: Uint8Array, directory: string, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw malformed(directory, file, "is not valid UTF-8", cause);
  }
}

function parseObject(bytes: Uint8Array, directory: string, file: string): Json {
  let value: unknown;
  const text = decode(bytes, directory, file);
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw malformed(directory, file, `is not valid JSON (${(cause as Error).message})`, cause);
  }
  if (!isObject(value)) throw malformed(directory, file, `holds ${show(value)}, not an object`);
  return value;
}

type Fail = (reason: string) => LockstepError;

/** A byte-level BPE without the variations that Qwen3 does not use. */
function checkModel(json: Json, fail: Fail): Json {
  const model = json.model;
  if (!isObject(model)) throw fail(`model is ${show(model)}, not an object`);
  if (model.type !== "BPE") throw fail(`model.type is ${show(model.type)}; only 'BPE' is supported`);
  const decoder = json.decoder;
  if (!isObject(decoder) || decoder.type !== "ByteLevel")
    throw fail(
      `decoder.type is ${show(isObject(decoder) ? decoder.type : decoder)}; only 'ByteLevel' is supported`,
    );
  for (const key of ["dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"]) {
    if (model[key]) throw fail(`model.${key} is ${show(model[key])}, which is not supported`);
  }
  return model;
}

async function checkVocabulary({ vocab }: Json, fail: Fail): Promise<Pick<TokenizerFiles, "ids" | "tokens">> {
  if (!isObject(vocab)) throw fail(`model.vocab is ${show(vocab)}, not an object`);
  const ids = new Map<string, number>();
  const tokens: (string | undefined)[] = [];
  await forEachInTurns(Object.keys(vocab), (token) => {
    const id = vocab[token];
    if (!isId(id)) throw fail(`model.vocab gives ${show(token)} the id ${show(id)}`);
    if (tokens[id] !== undefined) throw fail(`model.vocab gives the id ${id} twice, once to ${show(token)}`);
    tokens[id] = token;
    ids.set(token, id);
  });
  if (ids.size === 0) throw fail("model.vocab is empty");
  return { ids, tokens };
}

/** Accepts both notations: "a b" and ["a", "b"]. */
async function checkMerges(
  { merges }: Json,
  { ids, tokens }: Pick<TokenizerFiles, "ids" | "tokens">,
  fail: Fail,
): Promise<Merges> {
  if (!Array.isArray(merges)) throw fail(`model.merges is ${show(merges)}, not an array`);
  if (merges.length >= MAX_MERGES)
    throw fail(`model.merges has ${merges.length} entries, more than ${MAX_MERGES}`);
  const idOf = (token: string, i: number): number => {
    const id = ids.get(token);
    if (id === undefined) throw fail(`model.merges[${i}] needs the token ${show(token)}, not in model.vocab`);
    return id;
  };
  const checked = new Int32Array(3 * merges.length);
  let both = -1;
  await forEachInTurns(merges, (merge: unknown, i) => {
    const pair: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    if (!isPair(pair)) throw fail(`model.merges[${i}] is ${show(merge)}, not a pair of tokens`);
    const [left, right] = pair;
    checked[3 * i] = idOf(left, i);
    checked[3 * i + 1] = idOf(right, i);
    // Most merges make the token after the last merge's: a look at it spares joining two strings.
    both = isJoined(tokens[both + 1], left, right) ? both + 1 : idOf(left + right, i);
    checked[3 * i + 2] = both;
  });
  return checked;
}

function isJoined(token: string | undefined, left: string, right: string): boolean {
  return token?.length === left.length + right.length && token.startsWith(left) && token.endsWith(right);
}

function isPair(value: unknown): value is [string, string] {
  if (!Array.isArray(value) || value.length !== 2) return false;
  const [left, right] = value;
  return typeof left === "string" && typeof right === "string" && left !== "" && right !== "";
}

/** Puts them into `tokens`, too. */
function checkAddedTokens(json: Json, tokens: (string | undefined)[], fail: Fail): AddedTokenEntry[] {
  json.added_tokens ??= [];
  const entries = json.added_tokens;
  if (!Array.isArray(entries)) throw fail(`added_tokens is ${show(entries)}, not an array`);
  return entries.map((entry: unknown, i): AddedTokenEntry => {
    const where = `added_tokens[${i}]`;
    if (!isObject(entry)) throw fail(`${where} is ${show(entry)}, not an object`);
    const { id, content, special = false } = entry;
    if (!isId(id)) throw fail(`${where}.id is ${show(id)}`);
    if (typeof content !== "string" || content === "") throw fail(`${where}.content is ${show(content)}`);
    for (const key of ["special", "normalized", "lstrip", "rstrip", "single_word"]) {
      if (entry[key] !== undefined && typeof entry[key] !== "boolean")
        throw fail(`${where}.${key} is ${show(entry[key])}, not a boolean`);
    }
    const other = tokens[id];
    if (other !== undefined && other !== content)
      throw fail(`${where} gives ${show(content)} the id ${id}, which is ${show(other)}'s`);
    tokens[id] = content;
    return { id, content, special: special as boolean };
  });
}

function readSpecialTokens(config: Json, fail: Fail): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const name of NAMED_TOKENS) {
    const value = config[name];
    if (value === undefined || value === null) continue;
    tokens[name] = tokenText(value, name, fail);
  }
  return tokens;
}

function readAdditionalTokens(config: Json, fail: Fail): string[] {
  // transformers 5 renamed the key; in its file it may also be an object of named tokens.
  const value = config.additional_special_tokens ?? config.extra_special_tokens ?? [];
  const list = isObject(value) ? Object.values(value) : value;
  if (!Array.isArray(list)) throw fail(`additional_special_tokens is ${show(value)}, not an array`);
  return list.map((token: unknown, i) => tokenText(token, `additional_special_tokens[${i}]`, fail));
}

/** A token is a string or, in older files, an object with its content. */
function tokenText(value: unknown, where: string, fail: Fail): string {
  const text = isObject(value) ? value.content : value;
  if (typeof text !== "string") throw fail(`${where} is ${show(value)}, not a token`);
  return text;
}

/** The post-processor's tokens; where it has none, those that tokenizer_config.json asks for by name. */
function readAround(
  { before, after }: SpecialTokensAround,
  config: Json,
  { bos_token, eos_token }: Record<string, string>,
  ids: ReadonlyMap<string, number>,
): SpecialTokensAround {
  const asked = (key: string, token: string | undefined): number[] => {
    const id = config[key] === true && token !== undefined ? ids.get(token) : undefined;
    return id === undefined ? [] : [id];
  };
  if (before.length + after.length > 0) return { before, after };
  return { before: asked("add_bos_token", bos_token), after: asked("add_eos_token", eos_token) };
}

function readTemplate(config: Json, fail: Fail): string | undefined {
  const value = config.chat_template;
  if (value === undefined || value === null || typeof value === "string") return value ?? undefined;
  if (!Array.isArray(value) || !value.every((x) => isObject(x) && typeof x.template === "string"))
    throw fail(`chat_template is ${show(value)}, neither a string nor a list of { name, template }`);
  return (value as Json[]).find((entry) => entry.name === "default")?.template as string | undefined;
}

function isId(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < MAX_ID;
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
