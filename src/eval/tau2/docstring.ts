/** Docstrings in Google's style, as the package docstring_parser reads them: what a function does, and what each parameter is. Pure. */

export interface Docstring {
  /** The first line, even where its sentence goes on. */
  short: string;
  /** What follows it before the first section. */
  long: string;
  parameters: Map<string, string>;
}

const SECTION =
  /^(?:Arguments|Args|Parameters|Params|Raises|Exceptions|Except|Attributes|Examples?|Returns|Yields):[ \t\r\f\v]*$/m;
const PARAMETERS = /^(?:Arguments|Args|Parameters|Params):/;

export function parseDocstring(raw: string): Docstring {
  const text = cleaned(raw);
  const start = SECTION.exec(text)?.index ?? text.length;
  const [short, ...rest] = text.slice(0, start).split("\n");
  const parameters = new Map<string, string>();
  for (const section of sectionsOf(text.slice(start)))
    if (PARAMETERS.test(section)) readParameters(section.slice(section.indexOf("\n") + 1), parameters);
  return { short: short ?? "", long: rest.join("\n").trim(), parameters };
}

function sectionsOf(text: string): string[] {
  const starts = [...text.matchAll(new RegExp(SECTION, "gm"))].map(({ index }) => index);
  return starts.map((from, i) => text.slice(from, starts[i + 1] ?? text.length));
}

/** One parameter for each line at the first line's indent; deeper lines go on with it. */
function readParameters(body: string, parameters: Map<string, string>): void {
  const indent = /^[ \t]*(?=\S)/m.exec(body)?.[0] ?? "";
  for (const chunk of body.split(new RegExp(`^${indent}(?=\\S)`, "m"))) {
    const colon = chunk.indexOf(":");
    if (colon < 0) continue;
    const name = chunk.slice(0, colon).replace(/\s*\(.*\)\s*$/, "");
    const [first, ...more] = chunk
      .slice(colon + 1)
      .replace(/^ /, "")
      .split("\n");
    const description = more.length === 0 ? first! : `${first}\n${cleaned(more.join("\n"))}`;
    parameters.set(name.trim(), description.replace(/^\n+|\n+$/g, ""));
  }
}

/** inspect.cleandoc(): without the indent that all lines but the first share, and without empty lines around. */
export function cleaned(text: string): string {
  const [first, ...rest] = text.replaceAll("\t", "        ").split("\n");
  const indents = rest
    .filter((line) => line.trim() !== "")
    .map((line) => line.length - line.trimStart().length);
  const margin = Math.min(...indents);
  const lines = [
    first!.trimStart(),
    ...rest.map((line) => (Number.isFinite(margin) ? line.slice(margin) : line)),
  ];
  while (lines.length > 0 && lines.at(-1)!.trim() === "") lines.pop();
  while (lines.length > 0 && lines[0]!.trim() === "") lines.shift();
  return lines.map((line) => line.trimEnd()).join("\n");
}
