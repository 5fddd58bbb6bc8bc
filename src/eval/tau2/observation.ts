/** From what happened since the agent's last message to the user messages that the agent gets next (SPEC §4, quirks included). Pure. */
import type { ChatMessage } from "../../index.js";
import { splitLines, strip } from "../../python/text.js";

/** One line for each message, `role: content`; messages of more lines stay so. */
export function observationText(messages: { role: string; content: string }[]): string {
  return messages.map(({ role, content }) => `${role}: ${content}`).join("\n");
}

const NOTHING = "[no_observation]";

/** The messages that follow an action; before the first one it is a `respond`. */
export function followUp(
  observation: string,
  action: { name: string; rawActionCall: string },
): ChatMessage[] {
  const { user, tool, other } = linesByRole(observation);
  if (action.name === "respond") return [{ role: "user", content: user || other || NOTHING }];
  const result = {
    role: "user",
    content: `Tool result for ${action.rawActionCall}:\n${tool || other || NOTHING}`,
  } as const;
  return user === "" ? [result] : [result, { role: "user", content: user }];
}

/** Only a line that begins with a role counts as that role's: the second line of a longer message is "other". */
function linesByRole(observation: string): Record<"user" | "tool" | "other", string> {
  const lines = { user: [] as string[], tool: [] as string[], other: [] as string[] };
  for (const raw of splitLines(observation)) {
    const line = strip(raw);
    const colon = line.indexOf(": ");
    const role = colon < 0 ? undefined : strip(line.slice(0, colon)).toLowerCase();
    const content = strip(colon < 0 ? line : line.slice(colon + 2));
    if (content === "") continue;
    if (role === "user" || role === "tool") lines[role].push(content);
    else lines.other.push(role === undefined ? content : `${role}: ${content}`);
  }
  const joined = (list: string[]) => strip(list.join("\n"));
  return { user: joined(lines.user), tool: joined(lines.tool), other: joined(lines.other) };
}
