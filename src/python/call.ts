/** Calling a Python function with arguments by name: what binds to which parameter, and what TypeError says where it does not. Pure. */
import { stringRepr } from "./repr.js";
import { type PyArguments, type PyValue, typeError } from "./types.js";

/** A parameter is required unless it has a default; the receiver (`self`) is not listed. */
export type Parameter = string | { name: string; default: PyValue };

const nameOf = (parameter: Parameter) => (typeof parameter === "string" ? parameter : parameter.name);

/** One value per parameter, in order. `callee` is the qualified name that errors show, as in `Tools.lookup`. */
export function bindArguments(
  callee: string,
  parameters: readonly Parameter[],
  given: PyArguments,
): PyValue[] {
  for (const name of given.keys()) {
    if (name === "self") throw typeError(`${callee}() got multiple values for argument 'self'`);
    if (!parameters.some((parameter) => nameOf(parameter) === name))
      throw typeError(`${callee}() got an unexpected keyword argument ${inQuotes(name)}`);
  }
  const missing = parameters
    .filter((parameter) => typeof parameter === "string" && !given.has(parameter))
    .map(nameOf);
  if (missing.length > 0) {
    const noun = missing.length === 1 ? "argument" : "arguments";
    throw typeError(
      `${callee}() missing ${missing.length} required positional ${noun}: ${enumeration(missing)}`,
    );
  }
  return parameters.map((parameter) =>
    typeof parameter === "string"
      ? given.get(parameter)!
      : given.has(parameter.name)
        ? given.get(parameter.name)!
        : parameter.default,
  );
}

const inQuotes = (name: string) => `'${name}'`;

/** 'a', 'a' and 'b', or 'a', 'b', and 'c' */
function enumeration(names: string[]): string {
  const quoted = names.map(stringRepr);
  if (quoted.length < 3) return quoted.join(" and ");
  return `${quoted.slice(0, -1).join(", ")}, and ${quoted.at(-1)}`;
}
