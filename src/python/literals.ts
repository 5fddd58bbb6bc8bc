/**
 * The value of a literal in a syntax tree of Python: constants, signs, lists, tuples, dicts. Pure; PyError for anything else.
 *
 * Not values here: bytes, complex numbers, `...`, f-strings and escapes by character name.
 */
import type { SyntaxNode } from "@lezer/common";
import { dictKey, negate } from "./operators.js";
import { type PyDict, PyError, PyTuple, type PyValue } from "./types.js";

export const textOf = (node: SyntaxNode, source: string) => source.slice(node.from, node.to);
export const isPunctuation = (node: SyntaxNode) => /^[()[\]{},:]$/.test(node.name);

export function childrenOf(node: SyntaxNode): SyntaxNode[] {
  const children: SyntaxNode[] = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) children.push(child);
  return children;
}

export const invalidSyntax = () => new PyError("SyntaxError", "invalid syntax");

/** A literal's value; names are texts, as the benchmark takes them. Throws for anything else. */
export function literalValue(node: SyntaxNode, source: string): PyValue {
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
      return literalValue(items()[0]!, source);
    case "ArrayExpression":
      return items().map((item) => literalValue(item, source));
    case "TupleExpression":
      return PyTuple.from(items(), (item) => literalValue(item, source)) as PyTuple;
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
    const key = literalValue(items[i]!, source);
    const sameKey = dictKey(key);
    if (!keys.has(sameKey)) keys.set(sameKey, key);
    dict.set(keys.get(sameKey)!, literalValue(items[i + 1]!, source));
  }
  return dict;
}

function unary(node: SyntaxNode, source: string): PyValue {
  const sign = textOf(node.firstChild!, source);
  const operand = literalValue(node.lastChild!, source);
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

export function stringOf(literal: string): string {
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
  if (!(code <= 0x10ffff)) throw invalidSyntax();
  return String.fromCodePoint(code);
}
