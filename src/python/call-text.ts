/**
 * A call written as Python text, `name(key=literal, …)`: its name and keyword arguments. Pure.
 *
 * The text may be anything a model wrote, so the first question is whether it is a call at all: `ok (thanks)` is one to Python, `ok (thank you)` is not.
 * The grammar is @lezer/python's, which recovers from errors and lets some through that Python's parser refuses: those are looked for here. Not values
 * here: bytes, complex numbers and `...`; a call that holds one is no call.
 */
import type { SyntaxNode } from "@lezer/common";
import { parser } from "@lezer/python";
import { dictKey, negate } from "./operators.js";
import { SPACE, strip } from "./text.js";
import { type PyDict, PyError, PyTuple, type PyValue } from "./types.js";

const CALL = new RegExp(`^([\\p{L}\\p{N}_]+)[${SPACE}]*\\(([^\\n]*)\\)$`, "u");

export interface CallText {
  name: string;
  /** Keyword arguments; positional ones are dropped. `null` is the key of `**value`. */
  arguments: PyDict;
}

/** `text` as a call, or undefined where it is none: no such form, not Python, or a value that is no literal. */
export function parseCallText(text: string): CallText | undefined {
  const match = CALL.exec(text);
  if (match === null) return undefined;
  try {
    return { name: match[1]!, arguments: keywordsOf(match[2]!) };
  } catch (error) {
    if (error instanceof PyError) return undefined;
    throw error;
  }
}

const invalid = () => new PyError("SyntaxError", "invalid syntax");

function keywordsOf(argumentText: string): PyDict {
  const keywords: PyDict = new Map();
  const source = withWholeFloats(`f(${strip(argumentText)})`);
  const top = parser.parse(source).topNode;
  requireValid(top, source);
  let statement = top.firstChild;
  if (statement?.name === "StatementGroup") statement = statement.firstChild; // `f(a); g(b)`: the first counts
  const call = statement?.name === "ExpressionStatement" ? statement.firstChild : null;
  if (call?.name !== "CallExpression") throw invalid();
  for (const argument of argumentsOf(call.getChild("ArgList")!, source))
    if (argument.kind === "keyword") keywords.set(argument.name, evaluate(argument.value, source));
    else if (argument.kind === "dict") keywords.set(null, evaluate(argument.value, source));
  return keywords;
}

/** `5.` as `5.0`: the grammar takes the point for a member's. Texts in quotes stay. */
function withWholeFloats(source: string): string {
  const quotedOrFloat =
    /(?:'''|""")[\s\S]*?(?:'''|""")|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?<![\w.])(\d[\d_]*\.)(?!\d)/g;
  return source.replace(quotedOrFloat, (whole, float) => (float === undefined ? whole : `${float}0`));
}

interface Argument {
  kind: "positional" | "list" | "keyword" | "dict";
  name: string;
  value: SyntaxNode;
}

const textOf = (node: SyntaxNode, source: string) => source.slice(node.from, node.to);
const isPunctuation = (node: SyntaxNode) => /^[()[\]{},:]$/.test(node.name);

/** An argument list's parts, in order. */
function argumentsOf(list: SyntaxNode, source: string): Argument[] {
  const parts: SyntaxNode[][] = [[]];
  for (const node of childrenOf(list))
    if (node.name === ",") parts.push([]);
    else if (!isPunctuation(node)) parts.at(-1)!.push(node);
  return parts.filter((part) => part.length > 0).map((part) => argumentOf(part, source));
}

function argumentOf(part: SyntaxNode[], source: string): Argument {
  const [first, second] = part as [SyntaxNode, SyntaxNode?];
  const value = part.at(-1)!;
  if (first.name === "*" || first.name === "**")
    return { kind: first.name === "*" ? "list" : "dict", name: "", value };
  if (second?.name !== "AssignOp" || textOf(second, source) !== "=")
    return { kind: "positional", name: "", value };
  if (first.name !== "VariableName") throw invalid();
  return { kind: "keyword", name: textOf(first, source), value };
}

function childrenOf(node: SyntaxNode): SyntaxNode[] {
  const children: SyntaxNode[] = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) children.push(child);
  return children;
}

const NUMBER =
  /^(?:0[xX](?:_?[\da-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|(?:0(?:_?0)*|[1-9](?:_?\d)*)|(?:\d(?:_?\d)*)?\.\d(?:_?\d)*(?:[eE][+-]?\d(?:_?\d)*)?[jJ]?|\d(?:_?\d)*\.?(?:[eE][+-]?\d(?:_?\d)*)[jJ]?|\d(?:_?\d)*\.?[jJ]|\d(?:_?\d)*\.)$/;

const IDENTIFIER = /^[\p{XID_Start}_]\p{XID_Continue}*$/u;

/** What the grammar lets through and Python does not. */
function requireValid(top: SyntaxNode, source: string): void {
  top.cursor().iterate((node) => {
    const text = source.slice(node.from, node.to);
    if (node.type.isError || text === "<>") throw invalid();
    if (node.name === "Number" && !NUMBER.test(text)) throw invalid();
    if (/^(?:Variable|Property)Name$/.test(node.name) && !IDENTIFIER.test(text.normalize("NFKC")))
      throw invalid();
    if (node.name === "String" && !isBytes(text)) stringOf(text);
    if (node.name === "ContinuedString") requireOneKind(childrenOf(node.node), source);
    if (node.name === "ArgList") requireOrder(node.node, source);
  });
}

const isBytes = (literal: string) => /^[rR]?[bB]/.test(literal);

/** Texts and bytes side by side are no one literal. */
function requireOneKind(parts: SyntaxNode[], source: string): void {
  if (new Set(parts.map((part) => isBytes(textOf(part, source)))).size > 1) throw invalid();
}

/** Positional arguments come before keywords, and a generator without parentheses is the only argument. */
function requireOrder(list: SyntaxNode, source: string): void {
  const kinds = argumentsOf(list, source).map(({ kind }) => kind);
  const keyword = kinds.findIndex((kind) => kind === "keyword" || kind === "dict");
  if (keyword >= 0 && kinds.lastIndexOf("positional") > keyword) throw invalid();
  const dict = kinds.indexOf("dict");
  if (dict >= 0 && kinds.lastIndexOf("list") > dict) throw invalid();
  if (list.getChild("for") !== null && (list.getChild(",") !== null || kinds[0] !== "positional"))
    throw invalid();
}

/** A literal's value; names are texts, as the benchmark takes them. Throws for anything else. */
function evaluate(node: SyntaxNode, source: string): PyValue {
  const text = textOf(node, source);
  const items = () => childrenOf(node).filter((child) => !isPunctuation(child));
  switch (node.name) {
    case "None":
      return null;
    case "Boolean":
      return text === "True";
    case "VariableName":
      return text.normalize("NFKC");
    case "Number":
      return numberOf(text);
    case "String":
      return stringOf(text);
    case "ContinuedString":
      return childrenOf(node)
        .map((part) => (part.name === "String" ? stringOf(textOf(part, source)) : unsupported()))
        .join("");
    case "ParenthesizedExpression":
      return evaluate(items()[0]!, source);
    case "ArrayExpression":
      return items().map((item) => evaluate(item, source));
    case "TupleExpression":
      return PyTuple.from(items(), (item) => evaluate(item, source)) as PyTuple;
    case "DictionaryExpression":
      return dictOf(items(), source);
    case "UnaryExpression":
      return unary(node, source);
    default:
      return unsupported();
  }
}

function unsupported(): never {
  throw new PyError("ValueError", "no literal");
}

function dictOf(items: SyntaxNode[], source: string): PyDict {
  const dict: PyDict = new Map();
  const keys = new Map<PyValue, PyValue>(); // an equal key that is there already keeps its form: 1, 1.0 and True are one
  for (let i = 0; i < items.length; i += 2) {
    if (items[i]!.name === "**") unsupported();
    const key = evaluate(items[i]!, source);
    const sameKey = dictKey(key);
    if (!keys.has(sameKey)) keys.set(sameKey, key);
    dict.set(keys.get(sameKey)!, evaluate(items[i + 1]!, source));
  }
  return dict;
}

function unary(node: SyntaxNode, source: string): PyValue {
  const sign = textOf(node.firstChild!, source);
  const operand = evaluate(node.lastChild!, source);
  if (sign === "-") return negate(operand);
  if (sign !== "+") return unsupported();
  const negated = negate(operand); // what has no minus has no plus
  return typeof operand === "boolean" ? -negated : operand;
}

function numberOf(text: string): PyValue {
  const digits = text.replaceAll("_", "");
  if (/^0[xXoObB]/.test(digits) || /^\d+$/.test(digits)) return BigInt(digits);
  return /[jJ]$/.test(digits) ? unsupported() : Number(digits);
}

const ESCAPE = /\\(?:([0-7]{1,3})|x([\s\S]{0,2})|u([\s\S]{0,4})|U([\s\S]{0,8})|N(\{[^}]*\})?|([\s\S]))/g;
const NAMED: Record<string, string> = {
  ...{
    "\n": "",
    "\\": "\\",
    "'": "'",
    '"': '"',
    a: "\x07",
    b: "\b",
    f: "\f",
    n: "\n",
    r: "\r",
    t: "\t",
    v: "\v",
  },
};

function stringOf(literal: string): string {
  const match = /^([a-zA-Z]*)('''|"""|'|")([\s\S]*)\2$/.exec(literal);
  if (match === null || /[bBfF]/.test(match[1]!)) return unsupported();
  if (/[rR]/.test(match[1]!)) return match[3]!;
  return match[3]!.replace(ESCAPE, (whole, octal, x, u, U, _name, other) => {
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
    const [hex, width] =
      x !== undefined ? [x, 2] : u !== undefined ? [u, 4] : U !== undefined ? [U, 8] : [undefined, 0];
    if (hex !== undefined) return characterOf(hex, width);
    if (other === undefined) return unsupported(); // \N{…}: names of characters are not known here
    return Object.hasOwn(NAMED, other) ? NAMED[other]! : whole;
  });
}

function characterOf(hex: string, width: number): string {
  const code = new RegExp(`^[0-9a-fA-F]{${width}}$`).test(hex) ? Number.parseInt(hex, 16) : Number.NaN;
  if (!(code <= 0x10ffff)) throw invalid();
  return String.fromCodePoint(code);
}
