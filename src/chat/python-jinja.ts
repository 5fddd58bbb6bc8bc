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
 * - `join` printed its items as JavaScript does, and its keyword was not `d`.
 * - an attribute of an undefined value is an error; it was another undefined value, and printed nothing.
 * - `break` and `continue` dropped what their round had printed.
 * - a text's length and indices counted UTF-16 units, not code points.
 * - `+` of a text and something else joined them; it is an error.
 * - `%` took the sign of its first number; division by zero gave Infinity.
 * - `in` compared a list's items as JavaScript's ===, and was an error for none, and for anything but text in a dict.
 * - `capitalize` left the rest as it was, `title` knew ASCII words only.
 *
 * Still different, and used by none of Qwen3's templates:
 * - what Jinja has and the library has not (some filters, tests and methods) is an error; strftime_now is absent (it would
 *   make a prompt depend on the clock).
 * - comparisons do not chain: `a == b == c` is `(a == b) == c`.
 * - the pairs of `items()` and `dictsort` are lists, and `items()` prints as a list of them; so is what comes of two tuples.
 * - `.length` of a text or a list is its length; it is undefined in Python.
 * - `break` in a macro leaves the loop that called it; it is a syntax error in Python.
 *
 * Limits: a clock (clock.ts) stops whatever takes long. What is bounded here is what a clock does not stop in time: the size
 * of every text and list, what all of them take together (MAX_STEPS), and V8's own searches.
 */
import * as jinja from "@huggingface/jinja";
import { numberRepr, pythonEquals, pythonText, type Value } from "./python-values.js";

/** How far a template may go. A template that wants more gets a BoundError. */
export interface Bounds {
  /** Of each text, in UTF-16 units. */
  textUnits: number;
  listLength: number;
  /** Text length times length of what is looked for: V8's search may take all of it, 6e9 a second, and cannot be stopped. */
  searchUnits: number;
}

export class BoundError extends Error {}

/**
 * Evaluations, items of lists that were built, and every UNITS_PER_STEP of text that was read or made: a bound on memory.
 * Qwen3's templates take about 65 a message.
 */
const MAX_STEPS = 2_000_000;
const UNITS_PER_STEP = 64;

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
  iterable?: Node;
  lhs?: Node;
  body?: Node[] | LoopBody;
}
interface Scope {
  variables: Map<string, Value>;
  set(name: string, value: unknown): Value;
}
interface Evaluator {
  run(program: Node): Value;
  evaluate(node: Node | undefined, scope: Scope): Value;
  evaluateFor(node: Node, scope: Scope): Value;
  evaluateArguments(args: Node[], scope: Scope): [Value[], Map<string, Value>];
  applyFilter(operand: Value, filter: Node, scope: Scope): Value;
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

/** Renders `program` with `variables`, which must be plain JSON values. Throws whatever the template throws, or a BoundError. */
export function renderTemplate(program: Program, variables: Record<string, unknown>, bounds: Bounds): string {
  const environment = new Environment();
  const declare = (name: string, value: unknown) => {
    environment.variables.delete(name); // `set` refuses to declare a name twice
    environment.set(name, value);
  };
  declare("range", (...args: [number]) => range(bounds.listLength, ...args));
  declare("raise_exception", (message: unknown) => {
    throw new Error(String(message));
  });
  for (const [name, value] of Object.entries(variables)) declare(name, value);
  // Last: these are words of the language, not variables.
  for (const name of ["true", "True"]) declare(name, true);
  for (const name of ["false", "False"]) declare(name, false);
  for (const name of ["none", "None"]) declare(name, null);
  return String(new PythonInterpreter(environment, bounds).run(program).value);
}

class PythonInterpreter extends Interpreter {
  #steps = 0;
  /** What the block that was left last had printed. */
  #cutShort = "";
  readonly #bounds: Bounds;

  constructor(environment: Scope, bounds: Bounds) {
    super(environment);
    this.#bounds = bounds;
  }

  override evaluate(node: Node | undefined, environment: Scope): Value {
    this.#charge(1);
    const value = (node && this.#evaluateAsPython(node, environment)) ?? super.evaluate(node, environment);
    if (value.type === "StringValue") this.#chargeText((value.value as string).length);
    else if (node && BUILDERS.has(node.type)) this.#chargeList(sizeOf(value));
    return value;
  }

  /** The library's, with expressions printed as Python prints them. Statements print nothing, or text. */
  evaluateBlock(block: Node[] | LoopBody, environment: Scope): Value {
    if (block instanceof LoopBody) return this.#evaluateRound(block, environment);
    this.#charge(1); // a loop's empty body, too
    let result = "";
    for (const statement of block) {
      this.#cutShort = "";
      try {
        const value = this.evaluate(statement, environment);
        if (value.type !== "NullValue" || !STATEMENTS.has(statement.type)) result += pythonText(value);
      } catch (error) {
        // `break`, perhaps. Only these two print as they go; the text of the others is lost with them.
        this.#cutShort = result + (["If", "For"].includes(statement.type) ? this.#cutShort : "");
        throw error;
      }
      this.#limitText(result.length);
    }
    this.#chargeText(result.length);
    return text(result);
  }

  /** Prints into `body`: the library drops the text of a round that it leaves early. */
  #evaluateRound(body: LoopBody, environment: Scope): Value {
    try {
      body.printed += String(this.evaluateBlock(body.statements, environment).value);
    } catch (error) {
      body.printed += this.#cutShort;
      throw error;
    } finally {
      this.#limitText(body.printed.length);
    }
    return text("");
  }

  /** The library's, which keeps something for each item before the first round. */
  override evaluateFor(node: Node, environment: Scope): Value {
    const select = node.iterable?.type === "SelectExpression" ? node.iterable : undefined;
    const items = this.evaluate(select ? select.lhs : node.iterable, environment);
    this.#chargeList(sizeOf(items));
    const iterable = select ? { ...select, lhs: given(items) } : given(items);
    const body = new LoopBody(node.body as Node[]);
    try {
      const otherwise = super.evaluateFor({ ...node, iterable, body }, environment);
      return text(body.printed + String(otherwise.value));
    } catch (error) {
      this.#cutShort = body.printed + this.#cutShort; // of the loop's else, which may leave the loop around it
      throw error;
    }
  }

  /** The library's; a list that is spread out counts. */
  override evaluateArguments(args: Node[], environment: Scope): [Value[], Map<string, Value>] {
    const evaluated = super.evaluateArguments(args, environment);
    this.#charge(evaluated[0].length + evaluated[1].size);
    return evaluated;
  }

  #charge(steps: number): void {
    this.#steps += steps;
    if (this.#steps > MAX_STEPS) throw new BoundError(`the template took more than ${MAX_STEPS} steps`);
  }

  #chargeText(units: number): void {
    this.#limitText(units);
    this.#charge(Math.floor(units / UNITS_PER_STEP));
  }

  #chargeList(length: number): void {
    limit("a list", length, this.#bounds.listLength);
    this.#charge(length);
  }

  #limitText(units: number): void {
    limit("text", units, this.#bounds.textUnits);
  }

  #limitSearch(text: string, wanted: string): void {
    limit("a search", text.length * wanted.length, this.#bounds.searchUnits);
  }

  /** What the library does otherwise; undefined where it does as Python. */
  #evaluateAsPython(node: Node, environment: Scope): Value | undefined {
    if (node.type === GIVEN) return node.value as Value;
    if (node.type === "BinaryExpression") return this.#binary(node, environment);
    if (node.type !== "MemberExpression") return undefined;
    const object = this.evaluate(node.object, environment);
    if (object.type === "UndefinedValue")
      throw new Error(`${nameOf(node.object)} is undefined, and so has no ${nameOf(node.property)}`);
    if (object.type !== "StringValue") return super.evaluate({ ...node, object: given(object) }, environment);
    const isKey = node.computed && node.property?.type !== "SliceExpression";
    const key = isKey ? this.evaluate(node.property, environment) : undefined;
    const property = key ? given(key) : node.property;
    const value = super.evaluate({ ...node, object: given(object), property }, environment);
    const name = key ? key.value : property?.value;
    if (key?.type === "IntegerValue") return characterAt(object.value as string, key.value as number);
    if (value.type === "IntegerValue") return new IntegerValue(lengthOf(object.value as string)); // .length
    return (
      (value.type === "FunctionValue" && this.#stringMethod(object.value as string, String(name))) || value
    );
  }

  #binary({ operator, left, right }: Node, environment: Scope): Value | undefined {
    const name = operator?.value;
    if (name === undefined || !OPERATORS.has(name)) return undefined;
    const [a, b] = [this.evaluate(left, environment), this.evaluate(right, environment)];
    const value = name.endsWith("in") ? this.#isIn(a, b, name === "in") : operate(name, a, b);
    if (value) return value;
    return super.evaluate(
      { type: "BinaryExpression", operator, left: given(a), right: given(b) } as Node,
      environment,
    );
  }

  /** `in` or, unless `wanted`, `not in`; undefined for the library's. */
  #isIn({ type, value }: Value, container: Value, wanted: boolean): Value | undefined {
    const items = container.value;
    if (type === "StringValue" && container.type === "StringValue")
      this.#limitSearch(items as string, value as string);
    if (Array.isArray(items))
      return new BooleanValue(items.some((item: Value) => pythonEquals(item, { type, value })) === wanted);
    if (container.type !== "ObjectValue" || typeof value === "object") return undefined;
    return new BooleanValue((items as Map<unknown, Value>).has(value) === wanted);
  }

  /** What Python does otherwise, or what needs a bound; undefined for the library's. */
  #stringMethod(subject: string, name: string): Value | undefined {
    if (STRIPS.has(name)) return new FunctionValue((args) => this.#strip(text(subject), name, args));
    if (name === "capitalize") return new FunctionValue(() => text(capitalize(subject)));
    if (name === "title")
      return new FunctionValue(() => text(subject.replace(/\p{Cased}+/gu, (word) => capitalize(word))));
    if (name !== "split" && name !== "replace") return undefined;
    const method = (new StringValue(subject) as unknown as { builtins: Map<string, FunctionValue> }).builtins;
    return new FunctionValue((args, scope) => {
      const [wanted, other] = args.map(({ value }) => value);
      if (typeof wanted === "string") {
        this.#limitSearch(subject, wanted);
        const count = occurrences(subject, wanted);
        if (name === "split") this.#chargeList(count + 1);
        else this.#chargeText(subject.length + count * Math.max(0, String(other).length - wanted.length));
      }
      return method.get(name)!.value(args, scope);
    });
  }

  /** Of a filter expression and of a filter block. */
  override applyFilter(operand: Value, filter: Node, environment: Scope): Value {
    const called = filter.type === "CallExpression";
    const name = String(called ? filter.callee?.value : filter.value);
    const args = (called && filter.args) || [];
    if (name === "tojson") return text(this.#toJson(operand, this.#jsonOptions(args, environment), ""));
    if (name === "string") return text(pythonText(operand));
    if (operand.type === "StringValue" && !called) {
      if (name === "length") return new IntegerValue(lengthOf(operand.value as string));
      if (name === "capitalize") return text(capitalize(operand.value as string));
      if (name === "title") return text(titleWords(operand.value as string));
    }
    if (name === "trim") {
      const [positional, named] = this.evaluateArguments(args, environment);
      return this.#strip(text(pythonText(operand)), "strip", [...positional, ...named.values()]); // of anything
    }
    if (name === "replace" && operand.type === "StringValue") {
      const [positional, named] = this.evaluateArguments(args, environment);
      const all = named.size > 0 ? [...positional, keywords(named)] : positional;
      return (this.#stringMethod(operand.value as string, name) as FunctionValue).value(all, environment);
    }
    if (name === "indent" && operand.type === "StringValue") {
      const [positional, named] = this.evaluateArguments(args, environment);
      const width = Number((positional[0] ?? named.get("width"))?.value ?? 4);
      const lines = 1 + occurrences(operand.value as string, "\n");
      this.#chargeText((operand.value as string).length + lines * Math.max(0, width));
    }
    if (name === "join") {
      const [positional, named] = this.evaluateArguments(args, environment);
      if (named.has("attribute")) throw new Error("join: attribute is not supported");
      return this.#join(operand, positional[0] ?? named.get("d"));
    }
    return super.applyFilter(operand, filter, environment);
  }

  #join(list: Value, separator: Value | undefined): Value {
    const between = separator ? pythonText(separator) : "";
    const items = typeof list.value === "string" ? Array.from(list.value) : list.value;
    if (!Array.isArray(items)) throw new Error(`join takes a list, not ${list.type}`);
    const texts = items.map((item: Value | string) => (typeof item === "string" ? item : pythonText(item)));
    this.#chargeText(texts.reduce((sum, one) => sum + one.length + between.length, 0));
    return text(texts.join(between));
  }

  #strip(value: Value, method: string, args: Value[]): Value {
    const chars = args[0];
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
    this.#charge(1);
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
    const between = options.itemSeparator.length + inner.length + 1;
    this.#chargeText(parts.reduce((sum, part) => sum + part.length + between, 0));
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
function range(maxLength: number, first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  if (![start, stop, step].every(Number.isInteger) || step === 0) throw new Error("range() takes integers");
  const length = Math.max(0, Math.ceil((stop - start) / step));
  limit("range()", length, maxLength);
  return Array.from({ length }, (_, i) => start + i * step);
}

/** Operators that Python does otherwise, or that need a bound. */
const OPERATORS = new Set(["==", "!=", "~", "+", "/", "//", "%", "in", "not in"]);

/** The value of an operator; undefined for the library's. */
function operate(operator: string, a: Value, b: Value): Value | undefined {
  const areNumbers = typeof a.value === "number" && typeof b.value === "number";
  if (operator === "~") return text(pythonText(a) + pythonText(b));
  if (operator === "==" || operator === "!=")
    return new BooleanValue(pythonEquals(a, b) === (operator === "=="));
  if (operator === "+") {
    if (a.type === b.type)
      return a.type === "StringValue" ? text(`${a.value as string}${b.value as string}`) : undefined;
    if (areNumbers || ![a, b].some(({ value }) => typeof value === "string" || Array.isArray(value)))
      return undefined;
    throw new Error(`+ takes two texts, two lists or two numbers, not ${a.type} and ${b.type}`);
  }
  if (!areNumbers) return undefined;
  const [dividend, divisor] = [a.value as number, b.value as number];
  if (divisor === 0) throw new Error(`${operator}: division by zero`);
  if (operator !== "%") return undefined;
  const remainder = dividend % divisor;
  const wrapped = remainder !== 0 && remainder < 0 !== divisor < 0 ? remainder + divisor : remainder;
  return new (a.type === b.type && a.type === "IntegerValue" ? IntegerValue : FloatValue)(wrapped);
}

/** In code points, as Python counts. */
function lengthOf(text: string): number {
  let length = 0;
  for (const _ of text) ++length;
  return length;
}

/** `text[index]`, counted in code points, from the end if negative. */
function characterAt(subject: string, index: number): Value {
  let left = index < 0 ? index + lengthOf(subject) : index;
  for (const character of left < 0 ? "" : subject) if (left-- === 0) return text(character);
  return new UndefinedValue();
}

/** str.capitalize(). */
function capitalize(text: string): string {
  const [first = ""] = text;
  return titleCase(first) + text.toLowerCase().slice(first.toLowerCase().length);
}

/** One character in title case: only the first letter is large, of the two of \u00df. */
function titleCase(character: string): string {
  const [first = "", ...rest] = character.toUpperCase();
  return first + rest.join("").toLowerCase();
}

/** Jinja's filter `title`, whose words begin after white space, hyphens and opening brackets; str.title() has others. */
function titleWords(text: string): string {
  return text.replace(TITLE_WORD, (word) => {
    const [first = ""] = word;
    return first.toUpperCase() + word.slice(first.length).toLowerCase();
  });
}
const TITLE_WORD = new RegExp(`[^-({\\[<${[...PYTHON_SPACE].join("")}]+`, "gu");

function limit(what: string, length: number, max: number): void {
  if (length > max) throw new BoundError(`the template made ${what} of ${length}, more than ${max}`);
}

/** What a loop does for each item, and what that has printed so far. */
class LoopBody {
  printed = "";
  constructor(readonly statements: Node[]) {}
}

/** A node that has been evaluated already. */
const GIVEN = "Given";
const given = (value: Value): Node => ({ type: GIVEN, value });

/** Of a list or a dict. */
const sizeOf = ({ value }: Value): number =>
  Array.isArray(value) ? value.length : value instanceof Map ? value.size : 0;

/** How often replace() and split() find `wanted`, or more. */
function occurrences(text: string, wanted: string): number {
  if (wanted === "") return text.length + 1;
  let count = 0;
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) ++count;
  return count;
}

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
interface FunctionValue extends Value {
  value: (args: Value[], scope: Scope) => Value;
}
const StringValue = new Environment().set("text", "").constructor as new (value: string) => Value;
const BooleanValue = new Environment().set("flag", true).constructor as new (value: boolean) => Value;
const IntegerValue = new Environment().set("integer", 1).constructor as new (value: number) => Value;
const FloatValue = new Environment().set("float", 0.5).constructor as new (value: number) => Value;
const UndefinedValue = new Environment().set("absent", undefined).constructor as new () => Value;
const FunctionValue = new Environment().set("call", () => null).constructor as new (
  call: FunctionValue["value"],
) => FunctionValue;

/** Keyword arguments, as the library passes them to a function. */
function keywords(named: Map<string, Value>): Value {
  return { type: "KeywordArgumentsValue", value: named };
}

function text(value: string): Value {
  return new StringValue(value);
}
