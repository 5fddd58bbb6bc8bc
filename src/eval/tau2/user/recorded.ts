/** The user of recordings: says what was said then, whatever the agent does now. For offline runs and tests. */
import { readFileSync } from "node:fs";
import { LockstepError } from "../../../index.js";
import { loads } from "../../../python/json.js";
import { type PyDict, PyError } from "../../../python/types.js";
import { readAction } from "../action.js";
import { type ScriptEntry, ScriptedSession } from "./scripted.js";
import type { Heard, User } from "./user.js";

/** What the user said in one episode: to the greeting, and to each of the agent's messages. */
interface Script {
  opening: ScriptEntry[];
  answers: ScriptEntry[][];
}

/**
 * Episodes in the recordings' layout, a journal's lines among them. Of several for one task, attempts take turns. A task without one has a user who only says
 * "ok". Throws FILE_ERROR; INVALID_ARGUMENT without files.
 */
export function recordedUser(files: readonly string[]): User {
  if (files.length === 0)
    throw new LockstepError(
      "INVALID_ARGUMENT",
      "Expected recordings for the user to speak from but received none",
    );
  const scripts = new Map<string, Script[]>();
  for (const file of files)
    for (const episode of episodesOf(file)) {
      const task = keyOf(episode.get("domain") as string, episode.get("task_id") as string);
      scripts.set(task, [...(scripts.get(task) ?? []), scriptOf(episode)]);
    }
  return {
    describe: () => ({ user: "recorded", files: files.length, reproducible: "yes" }),
    start({ domain, task, sample }) {
      const known = scripts.get(keyOf(domain, task.id)) ?? [];
      const { opening, answers } = known[sample % known.length] ?? { opening: [], answers: [] };
      const session = new ScriptedSession(opening);
      let answered = -1; // the greeting is answered by the opening
      const prepare = (heard: Heard) => {
        if ("text" in heard && answered++ >= 0) session.prepare(answers[answered - 1] ?? []);
        return session;
      };
      return { reply: (heard) => prepare(heard).reply(), recall: (heard) => prepare(heard).recall() };
    },
  };
}

/** Ids are unique within a domain only. */
const keyOf = (domain: string, task: string) => `${domain} ${task}`;

function episodesOf(file: string): PyDict[] {
  try {
    const lines = readFileSync(file, "utf8").split("\n");
    return lines
      .filter((line) => line.trim() !== "")
      .flatMap((line) => {
        const record = loads(line);
        return record instanceof Map && record.has("steps") ? [record as PyDict] : [];
      });
  } catch (cause) {
    const what =
      cause instanceof PyError
        ? `is not JSON Lines: ${cause.message}`
        : `cannot be read: ${(cause as Error).message}`;
    throw new LockstepError("FILE_ERROR", `${file} ${what}; expected episodes of a recording or a journal`, {
      cause,
    });
  }
}

function scriptOf(episode: PyDict): Script {
  const greeting = ((episode.get("reset_observation") ?? "") as string).replace(/^user: /, "");
  const opening = [...((episode.get("user_script") ?? []) as ScriptEntry[]), greeting];
  const speech = (episode.get("steps") as PyDict[]).filter(
    (step) => "text" in readAction(step.get("env_action") as string),
  );
  return { opening, answers: speech.map((step) => (step.get("user_script") ?? []) as ScriptEntry[]) };
}
