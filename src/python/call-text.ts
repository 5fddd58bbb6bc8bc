/**
 * A call written as Python text, `name(key=literal, …)`: its name and keyword arguments. Pure.
 *
 * The text may be anything a model wrote, so the first question is whether it is a call at all: `ok (thanks)` is one to Python, `ok (thank you)` is not.
 * The grammar is @lezer/python's, which recovers from errors and lets some through that Python's parser refuses: those are looked for here. A call
 * with a value that literals.ts does not know is no call.
 */
import type { SyntaxNode } from "@lezer/common";
import { parser } from "@lezer/python";
import { childrenOf, invalidSyntax, isPunctuation, literalValue, stringOf, textOf } from "./literals.js";
import { SPACE, strip } from "./text.js";
import { type PyDict, PyError } from "./types.js";

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

function keywordsOf(argumentText: string): PyDict {
  const keywords: PyDict = new Map();
  const source = withWholeFloats(`f(${strip(argumentText)})`);
  const top = parser.parse(source).topNode;
  requireValid(top, source);
  let statement = top.firstChild;
  if (statement?.name === "StatementGroup") statement = statement.firstChild; // `f(a); g(b)`: the first counts
  const call = statement?.name === "ExpressionStatement" ? statement.firstChild : null;
  if (call?.name !== "CallExpression") throw invalidSyntax();
  for (const argument of argumentsOf(call.getChild("ArgList")!, source))
    if (argument.kind === "keyword") keywords.set(argument.name, literalValue(argument.value, source));
    else if (argument.kind === "dict") keywords.set(null, literalValue(argument.value, source));
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
  if (first.name !== "VariableName") throw invalidSyntax();
  return { kind: "keyword", name: textOf(first, source), value };
}

const NUMBER =
  /^(?:0[xX](?:_?[\da-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|(?:0(?:_?0)*|[1-9](?:_?\d)*)|(?:\d(?:_?\d)*)?\.\d(?:_?\d)*(?:[eE][+-]?\d(?:_?\d)*)?[jJ]?|\d(?:_?\d)*\.?(?:[eE][+-]?\d(?:_?\d)*)[jJ]?|\d(?:_?\d)*\.?[jJ]|\d(?:_?\d)*\.)$/;

const IDENTIFIER = /^[\p{XID_Start}_]\p{XID_Continue}*$/u;

/** What the grammar lets through and Python does not. */
function requireValid(top: SyntaxNode, source: string): void {
  top.cursor().iterate((node) => {
    const text = source.slice(node.from, node.to);
    if (node.type.isError || text === "<>") throw invalidSyntax();
    if (node.name === "Number" && !NUMBER.test(text)) throw invalidSyntax();
    if (/^(?:Variable|Property)Name$/.test(node.name) && !IDENTIFIER.test(text.normalize("NFKC")))
      throw invalidSyntax();
    if (node.name === "String" && !isBytes(text)) stringOf(text);
    if (node.name === "ContinuedString") requireOneKind(childrenOf(node.node), source);
    if (node.name === "ArgList") requireOrder(node.node, source);
  });
}

const isBytes = (literal: string) => /^[rR]?[bB]/.test(literal);

/** Texts and bytes side by side are no one literal. */
function requireOneKind(parts: SyntaxNode[], source: string): void {
  if (new Set(parts.map((part) => isBytes(textOf(part, source)))).size > 1) throw invalidSyntax();
}

/** Positional arguments come before keywords, and a generator without parentheses is the only argument. */
function requireOrder(list: SyntaxNode, source: string): void {
  const kinds = argumentsOf(list, source).map(({ kind }) => kind);
  const keyword = kinds.findIndex((kind) => kind === "keyword" || kind === "dict");
  if (keyword >= 0 && kinds.lastIndexOf("positional") > keyword) throw invalidSyntax();
  const dict = kinds.indexOf("dict");
  if (dict >= 0 && kinds.lastIndexOf("list") > dict) throw invalidSyntax();
  if (list.getChild("for") !== null && (list.getChild(",") !== null || kinds[0] !== "positional"))
    throw invalidSyntax();
}
