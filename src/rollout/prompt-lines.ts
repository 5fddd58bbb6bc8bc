/**
 * Owns the requests of `lockstep rollout`: a JSON object a line, as a request of engine.rollouts() with its prompt laid open.
 * Pure. What a line's prompt and sampling hold is the engine's to check.
 */
import { type Check, checkOptions, integer, isPlainObject } from "../check.js";
import { type ErrorCode, invalid, LockstepError, messageOf } from "../errors.js";
import type { Prompt } from "../prompt.js";
import { groupSeed } from "./options.js";
import type { RolloutRequest } from "./types.js";

/** A line's request; a group is its samples. */
export interface PromptLine extends Pick<RolloutRequest, "prompt" | "sampling" | "metadata"> {
  n: number;
  /** In the file, from 1. */
  lineNumber: number;
}

const anything: Check<unknown> = (value) => value;

/** `prompt` (or `text`), or else `messages` with what belongs to them, or `tokens`; and what a request has besides. */
const kSchema = {
  ...{ prompt: anything, text: anything, tokens: anything, messages: anything, tools: anything },
  ...{ enableThinking: anything, chatTemplate: anything, addGenerationPrompt: anything },
  n: integer(1, 65_536),
  sampling: sampling,
  metadata: anything,
};

/** Blank lines do not count. `n`: of a line that does not say. Throws INVALID_ARGUMENT, with the line. */
export function parsePromptLines(text: string, { path, n }: { path: string; n: number }): PromptLine[] {
  const lines: PromptLine[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    try {
      lines.push({ n, ...requestOf(line), lineNumber: i + 1 });
    } catch (error) {
      throw inLine(path, i + 1, messageOf(error));
    }
  }
  if (lines.length === 0)
    throw new LockstepError("INVALID_ARGUMENT", `Expected a request in ${path} but it has none`);
  return lines;
}

export const inLine = (
  path: string,
  lineNumber: number,
  message: string,
  code: ErrorCode = "INVALID_ARGUMENT",
): LockstepError => new LockstepError(code, `${path}:${lineNumber}: ${message}`);

function requestOf(line: string): Omit<PromptLine, "n" | "lineNumber"> & { n?: number } {
  const written: unknown = JSON.parse(line);
  const given = checkOptions<Record<keyof typeof kSchema, unknown>>(written, "line", kSchema);
  const { n, sampling, metadata, prompt, ...form } = given;
  if (prompt !== undefined && Object.keys(form).length > 0)
    throw invalid(`no ${Object.keys(form)[0]} beside prompt`, "line", written);
  return {
    prompt: (prompt ?? form) as Prompt,
    ...(n !== undefined && { n: n as number }),
    ...(sampling !== undefined && { sampling: sampling as RolloutRequest["sampling"] & object }),
    ...(metadata !== undefined && { metadata }),
  };
}

function sampling(value: unknown, where: string): unknown {
  if (!isPlainObject(value)) throw invalid("an object", where, value);
  if (value.sampleIndex !== undefined)
    throw invalid("no sampleIndex (samples of a line count from 0)", where, value.sampleIndex);
  return value;
}

/** What is still to be made: requests, and of each the line that it is from (a group may need several). */
export interface Missing {
  requests: RolloutRequest[];
  groups: number[];
  samples: number;
}

/** The samples that `has` does not know. Group i has the seed `seed + i`, modulo 2^53, where its line gives none. */
export function missingRequests(
  lines: readonly PromptLine[],
  seed: number,
  has: (groupIndex: number, sampleIndex: number) => boolean,
): Missing {
  const missing: Missing = { requests: [], groups: [], samples: 0 };
  for (const [group, { n, prompt, sampling, metadata }] of lines.entries()) {
    const given = { seed: groupSeed(seed, group), ...sampling };
    for (let k = 0, end = 0; k < n; k = end + 1) {
      for (end = k; end < n && !has(group, end); ) ++end;
      if (end === k) continue;
      missing.requests.push({ prompt, n: end - k, sampling: { ...given, sampleIndex: k }, metadata });
      missing.groups.push(group);
      missing.samples += end - k;
    }
  }
  return missing;
}
