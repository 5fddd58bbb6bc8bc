/** What the simulated user is told: the guidelines, and the task's scenario as indented text (SPEC §7). Pure. */
import { indent } from "../../../python/text.js";
import type { PyDict } from "../../../python/types.js";

export function userSystemPrompt(guidelines: string, scenario: PyDict): string {
  return `${guidelines}\n\n<scenario>\n${scenarioText(scenario)}\n</scenario>`;
}

const TAB = "\t";

function scenarioText(scenario: PyDict): string {
  const persona = scenario.get("persona") ?? null;
  const lines = persona === null ? [] : ["Persona:", indent(persona as string, TAB)];
  const instructions = scenario.get("instructions") as PyDict | string;
  const text = typeof instructions === "string" ? instructions : instructionsText(instructions);
  return [...lines, "Instructions:", indent(text, TAB)].join("\n");
}

const HEADINGS: [field: string, heading: string][] = [
  ["reason_for_call", "Reason for call"],
  ["known_info", "Known info"],
  ["unknown_info", "Unknown info"],
  ["task_instructions", "Task instructions"],
];

function instructionsText(instructions: PyDict): string {
  const parts = HEADINGS.filter(([field]) => (instructions.get(field) ?? null) !== null).map(
    ([field, heading]) => `${heading}:\n${indent(instructions.get(field) as string, TAB)}`,
  );
  return [`Domain: ${instructions.get("domain")}`, ...parts].join("\n");
}
