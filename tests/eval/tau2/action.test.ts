import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  environmentAction,
  type ParsedAction,
  parseAction,
  readAction,
} from "../../../src/eval/tau2/action.js";
import { followUp } from "../../../src/eval/tau2/observation.js";
import { repr } from "../../../src/python/repr.js";
import { PyError } from "../../../src/python/types.js";

const golden = join(import.meta.dirname, "../../../../shared/tau2/golden");
const vectors = (file: string) =>
  readFileSync(join(golden, file), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

/** What a text becomes, in the layout of the recordings. */
function played(text: string) {
  let parsed: ParsedAction | undefined;
  try {
    parsed = parseAction(text);
    const action = environmentAction(parsed);
    const read = readAction(action);
    const call = "call" in read && read.call.name !== "done" ? read.call : undefined;
    return { parsed, action, read, call };
  } catch (error) {
    if (error instanceof PyError) return { parsed, error: `${error.type}: ${error.message}` };
    throw error;
  }
}

describe.skipIf(!existsSync(golden))("recorded actions (need ../shared)", () => {
  it.each(vectors("vec_actions.jsonl"))("$text", (expected) => {
    const got = played(expected.text);
    if (expected.parse_error !== undefined) return expect(got.error).toBe(expected.parse_error);
    expect(got.parsed?.name).toBe(expected.name);
    expect(got.parsed?.rawActionCall).toBe(expected.raw_action_call);
    if (expected.env_action_error !== undefined) return expect(got.error).toBe(expected.env_action_error);
    expect(got.action).toBe(expected.env_action);
    if (got.read !== undefined && "text" in got.read) expect(got.read.text).toBe(expected.message_content);
    const calls = got.read !== undefined && "call" in got.read ? [got.read.call] : null;
    expect(
      calls?.map(({ name, arguments: args, requestor }) => ({
        name,
        arguments_repr: repr(args),
        requestor,
      })) ?? null,
    ).toEqual(expected.tool_calls);
  });

  it.each(vectors("vec_observation.jsonl"))("$obs", ({ obs, tool_fu, resp_fu }) => {
    expect(followUp(obs, { name: "f", rawActionCall: "f(a=1)" })).toEqual(tool_fu);
    expect(followUp(obs, { name: "respond", rawActionCall: "" })).toEqual(resp_fu);
  });
});
