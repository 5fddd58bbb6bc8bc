/**
 * Owns running a chat template as Python's Jinja would: @huggingface/jinja with the differences below put right, and
 * with limits, since a checkpoint's template is data that somebody else wrote.
 *
 * Any thread. Must not give a template anything but the values passed in (no files, no clock, no JavaScript objects).
 *
 * Put right (each showed in rendered text; jinja 0.5.11 against Jinja2 3.1.6):
 * - `strip`, `lstrip`, `rstrip` and `trim` ignored their argument: Qwen3's `reasoning_content.strip('\n')` ate spaces.
 * - they stripped JavaScript's white space, not Python's (U+FEFF, U+0085, U+001C to U+001F differ).
 * - `tojson` wrote numbers as JavaScript does: 0.00001 is 1e-05 in Python. A number with an integer value is written
 *   as an integer: whether a caller meant 1 or 1.0 is lost in JavaScript. It wrote an undefined value as null.
 * - none, booleans, numbers, lists and dicts print as Python prints them (None, True, 1e-05, ['a']); none printed nothing.
 * - `==` and `!=` compare as Python's; they compared as JavaScript's (1 == '1', [1] != [1]).
 * - an attribute of an undefined value is an error; it was another undefined value, and printed nothing.
 *
 * Still different, and used by none of Qwen3's templates: `in` compares a list's items as JavaScript's ===, what Jinja has
 * and the library has not (some filters, tests and methods) is an error, strftime_now is absent (it would make a prompt
 * depend on the clock).
 *
 * Limits: MAX_STEPS evaluations, text and lists of bounded length, and MAX_MS for what steps do not measure (sorting,
 * splitting, copying). They stop accidents and plain bombs (endless ranges, doubling strings, lists within lists) with an
 * error; they do not make a hostile template cheap.
 */
import * as jinja from "@huggingface/jinja";
import { numberRepr, pythonEquals, pythonText, type Value } from "./python-values.js";

/** Qwen3's templates take about 65 a message, at 0.5 us; a loop made to waste time takes 3 us (2 cores, Node 20, 2026-11). */
export const MAX_STEPS = 2_000_000;
/** A backstop far above real templates: 18,000 messages take Qwen3's a third of it (2 cores, Node 20, 2026-11). */
const MAX_MS = 5_000;
const MAX_TEXT_UNITS = 2 ** 26;
const MAX_LIST_LENGTH = 2 ** 20;

/** A syntax node and a scope: what we use of the library's, whose types NodeNext cannot resolve. */
interface Node {
  type: string;
  value?: unknown;
  object?: Node;
  property?: Node;
  computed?: boolean;
  callee?: Node;
  args?: Node[];
  operand?: Node;
  filter?: Node;
  key?: Node;
  operator?: { value: string };
  left?: Node;
  right?: Node;
}
interface Scope {
  variables: Map<string, Value>;
  set(name: string, value: unknown): Value;
}
interface Evaluator {
  run(program: Node): Value;
  evaluate(node: Node | undefined, scope: Scope): Value;
}
const { Environment, Interpreter, parse, tokenize } = jinja as unknown as {
  Environment: new () => Scope;
  Interpreter: new (scope: Scope) => Evaluator;
  parse(tokens: unknown): Node;
  tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown;
};

/** A parsed template. */
export type Program = Node;

/** Parses with the white space rules that transformers sets. Throws what the parser throws. */
export function parseTemplate(source: string): Program {
  return parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
}

const STRIPS = new Set(["strip", "lstrip", "rstrip"]);
const PYTHON_SPACE = new Set(
  "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
);

/** Renders `program` with `variables`, which must be plain JSON values. Throws whatever the template throws. */
export function renderTemplate(program: Program, variables: Record<string, unknown>): string {
  const environment = new Environment();
  const declare = (name: string, value: unknown) => {
    environment.variables.delete(name); // `set` refuses to declare a name twice
    environment.set(name, value);
  };
  declare("range", range);
  declare("raise_exception", (message: unknown) => {
    throw new Error(String(message));
  });
  for (const [name, value] of Object.entries(variables)) declare(name, value);
  // Last: these are words of the language, not variables.
  for (const name of ["true", "True"]) declare(name, true);
  for (const name of ["false", "False"]) declare(name, false);
  for (const name of ["none", "None"]) declare(name, null);
  return String(new PythonInterpreter(environment).run(program).value);
}

class PythonInterpreter extends Interpreter {
  #steps = 0;
  readonly #deadline = performance.now() + MAX_MS;

  override evaluate(node: Node | undefined, environment: Scope): Value {
    this.#tick();
    const value = (node && this.#evaluateAsPython(node, environment)) ?? super.evaluate(node, environment);
    if (value.type === "StringValue") limit("text", (value.value as string).length, MAX_TEXT_UNITS);
    else if (Array.isArray(value.value)) {
      limit("a list", value.value.length, MAX_LIST_LENGTH);
      if (node && BUILDERS.has(node.type)) this.#tick(value.value.length >> 6); // of up to a million, in one step
    }
    return value;
  }

  /** The library's, with expressions printed as Python prints them. Statements print nothing, or text. */
  evaluateBlock(statements: Node[], environment: Scope): Value {
    this.#tick(); // a loop's empty body, too
    let result = "";
    for (const statement of statements) {
      const value = this.evaluate(statement, environment);
      if (value.type !== "NullValue" || !STATEMENTS.has(statement.type)) result += pythonText(value);
      limit("text", result.length, MAX_TEXT_UNITS);
    }
    return text(result);
  }

  /** A long list counts for as many steps as building it may take. */
  #tick(steps = 1): void {
    this.#steps += steps;
    if (this.#steps > MAX_STEPS) throw new Error(`the template took more than ${MAX_STEPS} steps`);
    if (performance.now() > this.#deadline) throw new Error(`the template took more than ${MAX_MS} ms`);
  }

  /** What the library does otherwise; undefined where it does as Python. */
  #evaluateAsPython(node: Node, environment: Scope): Value | undefined {
    if (node.type === GIVEN) return node.value as Value;
    if (node.type === "CallExpression") return this.#stripCall(node, environment);
    if (node.type === "FilterExpression") return this.#filter(node, environment);
    if (node.type === "BinaryExpression") return this.#binary(node, environment);
    if (node.type !== "MemberExpression") return undefined;
    const object = this.evaluate(node.object, environment);
    if (object.type === "UndefinedValue")
      throw new Error(`${nameOf(node.object)} is undefined, and so has no ${nameOf(node.property)}`);
    return super.evaluate({ ...node, object: { type: GIVEN, value: object } }, environment);
  }

  #binary({ operator, left, right }: Node, environment: Scope): Value | undefined {
    const name = operator?.value;
    if (name !== "==" && name !== "!=" && name !== "~") return undefined;
    const [a, b] = [this.evaluate(left, environment), this.evaluate(right, environment)];
    if (name === "~") return text(pythonText(a) + pythonText(b));
    return new BooleanValue(pythonEquals(a, b) === (name === "=="));
  }

  /** `x.strip(chars)` and its kin; undefined when `node` is another call. */
  #stripCall(node: Node, environment: Scope): Value | undefined {
    const callee = node.callee;
    if (callee?.type !== "MemberExpression" || callee.computed) return undefined;
    const method = String(callee.property?.value);
    if (!STRIPS.has(method)) return undefined;
    const text = this.evaluate(callee.object, environment);
    if (text.type !== "StringValue")
      throw new Error(`${method}() is a method of strings, not of ${text.type}`);
    return this.#strip(text, method, node.args ?? [], environment);
  }

  #filter(node: Node, environment: Scope): Value | undefined {
    const called = node.filter?.type === "CallExpression";
    const name = String(called ? node.filter?.callee?.value : node.filter?.value);
    if (name !== "tojson" && name !== "trim" && name !== "string") return undefined;
    const args = (called && node.filter?.args) || [];
    const operand = this.evaluate(node.operand, environment);
    if (name === "tojson") return text(this.#toJson(operand, this.#jsonOptions(args, environment), ""));
    if (name === "string") return text(pythonText(operand));
    return this.#strip(text(pythonText(operand)), "strip", args, environment); // Jinja's trim takes anything
  }

  #strip(value: Value, method: string, args: Node[], environment: Scope): Value {
    const chars = args[0] && this.evaluate(args[0], environment);
    if (args.length > 1 || (chars && chars.type !== "StringValue" && chars.type !== "NullValue"))
      throw new Error(`${method}() takes one string`);
    const set = chars?.type === "StringValue" ? new Set(chars.value as string) : PYTHON_SPACE;
    const points = Array.from(value.value as string);
    let start = 0;
    let end = points.length;
    if (method !== "rstrip") while (start < end && set.has(points[start]!)) ++start;
    if (method !== "lstrip") while (end > start && set.has(points[end - 1]!)) --end;
    return text(points.slice(start, end).join(""));
  }

  #jsonOptions(args: Node[], environment: Scope): JsonOptions {
    const given = new Map<string, Value>();
    for (const arg of args) {
      if (arg.type !== "KeywordArgumentExpression") throw new Error("tojson takes keyword arguments only");
      given.set(String(arg.key?.value), this.evaluate(arg.value as Node, environment));
    }
    const read = (name: string) => given.get(name)?.value ?? undefined;
    const indent = read("indent");
    const separators = read("separators") as Value[] | undefined;
    if (indent !== undefined && (typeof indent !== "number" || indent > 64))
      throw new Error("tojson: bad indent");
    if (separators !== undefined && !(Array.isArray(separators) && separators.length === 2))
      throw new Error("tojson: separators must be two strings");
    return {
      indent: indent === undefined ? undefined : " ".repeat(Math.max(0, indent as number)),
      itemSeparator: separators ? String(separators[0]!.value) : indent === undefined ? ", " : ",",
      keySeparator: separators ? String(separators[1]!.value) : ": ",
      ascii: read("ensure_ascii") === true,
      sort: read("sort_keys") === true,
    };
  }

  /** Python's json.dumps. `margin` is the indentation of the line on which the value starts. */
  #toJson(value: Value, options: JsonOptions, margin: string): string {
    this.#tick();
    if (value.type === "UndefinedValue") throw new Error("tojson: an undefined value is not JSON");
    if (value.type === "NullValue") return "null";
    const raw: unknown = value.value;
    if (typeof raw === "boolean") return String(raw);
    if (typeof raw === "number") return numberRepr(raw, value.type === "FloatValue");
    if (typeof raw === "string") return jsonString(raw, options.ascii);
    const inner = options.indent === undefined ? margin : margin + options.indent;
    let parts: string[];
    if (Array.isArray(raw)) parts = raw.map((item: Value) => this.#toJson(item, options, inner));
    else if (raw instanceof Map) {
      const entries = [...(raw as Map<string, Value>)];
      if (options.sort) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
      parts = entries.map(
        ([key, item]) =>
          jsonString(key, options.ascii) + options.keySeparator + this.#toJson(item, options, inner),
      );
    } else throw new Error(`tojson: ${value.type} is not JSON`);
    const [open, close] = Array.isArray(raw) ? ["[", "]"] : ["{", "}"];
    if (parts.length === 0) return open + close;
    limit(
      "text",
      parts.reduce((sum, part) => sum + part.length, 0),
      MAX_TEXT_UNITS,
    );
    if (options.indent === undefined) return open + parts.join(options.itemSeparator) + close;
    return `${open}\n${inner}${parts.join(`${options.itemSeparator}\n${inner}`)}\n${margin}${close}`;
  }
}

interface JsonOptions {
  indent: string | undefined; // undefined: on one line
  itemSeparator: string;
  keySeparator: string;
  ascii: boolean;
  sort: boolean;
}

function jsonString(value: string, ascii: boolean): string {
  const json = JSON.stringify(value);
  if (!ascii) return json;
  // Per UTF-16 unit, and U+007F too, as Python does.
  return json.replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Python's range, refused before it is built when it is longer than any real template's. */
function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  if (![start, stop, step].every(Number.isInteger) || step === 0) throw new Error("range() takes integers");
  const length = Math.max(0, Math.ceil((stop - start) / step));
  limit("range()", length, MAX_LIST_LENGTH);
  return Array.from({ length }, (_, i) => start + i * step);
}

function limit(what: string, length: number, max: number): void {
  if (length > max) throw new Error(`the template made ${what} of ${length}, more than ${max}`);
}

/** A node that has been evaluated already. */
const GIVEN = "Given";

/** Nodes that may build a list, rather than name one. */
const BUILDERS = new Set(["CallExpression", "FilterExpression", "BinaryExpression", "MemberExpression"]);

/** Nodes whose null value is the library's "nothing to print", not none. */
const STATEMENTS = new Set([
  "Set",
  "Comment",
  "Macro",
  "If",
  "For",
  "CallStatement",
  "FilterStatement",
  "Program",
]);

const nameOf = (node: Node | undefined): string => String(node?.value ?? node?.property?.value ?? "a value");

/** The library's classes, which it does not export. */
const StringValue = new Environment().set("text", "").constructor as new (value: string) => Value;
const BooleanValue = new Environment().set("flag", true).constructor as new (value: boolean) => Value;

function text(value: string): Value {
  return new StringValue(value);
}
