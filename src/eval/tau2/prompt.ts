/**
 * What the agent is told: system prompt and repair message, in our own words, or in the original's read from files.
 *
 * A checkpoint that was tuned on the original's wording earns its score with it, so reports store the hash of each text, and only the original's are
 * comparable with published numbers.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { LockstepError } from "../../index.js";
import { dumps } from "../../python/json.js";
import type { DomainData, DomainName } from "./data.js";
import type { ToolSchema } from "./tool-schemas.js";

export interface AgentPrompt {
  system: string;
  /** What the agent is answered where its text was no action. */
  repair: string;
  hashes: { system: string; repair: string };
  /** Whether both are the original's. */
  original: boolean;
}

const kOriginalHashes: Record<DomainName | "repair", string> = {
  airline: "d6e9017d16e22c09fbf788c3382feda02241861ed2c8b3076101d09176076bf3",
  retail: "340e5ea041492a490ac0cf9d8870f4217657ab634de8cd92a8f7e4a8a11e71dc",
  telecom: "052cbafeeb3faef69ca6c789e33620cccb5279bcbe7e118e451a361bb06efba1",
  repair: "159a25225180d996fce8f840247daeab40e3bb21509cae6245029f444bed88c3",
};

/** In our own words, around the domain's policy and tools. */
export function ownPrompt(domain: DomainData, tools: ToolSchema[]): AgentPrompt {
  return agentPrompt(domain.name, ownSystemPrompt(domain, tools), kOwnRepairMessage);
}

/** `system_prompt_{domain}.txt` and `repair_message.txt` of a folder. */
export function promptFromFiles(directory: string, domain: DomainName): AgentPrompt {
  return agentPrompt(
    domain,
    read(directory, `system_prompt_${domain}.txt`),
    read(directory, "repair_message.txt"),
  );
}

function read(directory: string, file: string): string {
  const path = join(directory, file);
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const expected = "expected a folder with system_prompt_{domain}.txt and repair_message.txt";
    throw new LockstepError("FILE_ERROR", `cannot read ${path}: ${(cause as Error).message}; ${expected}`, {
      cause,
    });
  }
}

function agentPrompt(domain: DomainName, system: string, repair: string): AgentPrompt {
  const hashes = { system: sha256(system), repair: sha256(repair) };
  return {
    system,
    repair,
    hashes,
    original: hashes.system === kOriginalHashes[domain] && hashes.repair === kOriginalHashes.repair,
  };
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

function ownSystemPrompt({ name, policy }: DomainData, tools: ToolSchema[]): string {
  return `You work in customer support (${name}). Help the customer as the policy allows.

# How to answer

Answer every time with one tool call and nothing beside it, in this form:

<tool_call>
{"name": "<tool>", "arguments": {"<parameter>": <value>}}
</tool_call>

Two names stand for actions that are not in the list of tools:
- \`respond\` says something to the customer: {"name": "respond", "arguments": {"content": "<text>"}}
- \`done\` ends the conversation: {"name": "done", "arguments": {}}

# Policy

${policy}

# Tools

${toolsText(tools)}

# Keep in mind

- Make sure who the customer is before you change anything for them.
- Say what you are about to change, and wait for a yes.
- Tell the customer all they need to know about the outcome.
- Once everything is settled, call \`done\` at once.
`;
}

const kOwnRepairMessage =
  'That was not one tool call in the required form. Write it again, as <tool_call>{"name": "…", "arguments": {…}}</tool_call> and nothing else.';

/** As a JSON list of name, description and parameters. */
function toolsText(tools: ToolSchema[]): string {
  const list = tools.map(({ name, description, parameters }) => {
    return new Map(Object.entries({ name, description, parameters }));
  });
  return dumps(list, { indent: 2 });
}
