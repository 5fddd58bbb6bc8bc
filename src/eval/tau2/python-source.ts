/**
 * Python sources as syntax trees: what a module defines, and where a name that it imports comes from.
 *
 * Reads files of one source folder on demand, and nothing else: names of other packages are not followed. Nothing is executed.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { SyntaxNode } from "@lezer/common";
import { parser } from "@lezer/python";
import { LockstepError } from "../../index.js";
import { childrenOf, isPunctuation, stringOf, textOf } from "../../python/literals.js";

export class PythonSources {
  readonly #modules = new Map<string, PythonModule>();
  /** @param root the folder that packages are in */
  constructor(private readonly root: string) {}

  /** A module by its dotted name. Throws FILE_ERROR where there is none, or it does not parse. */
  module(name: string): PythonModule {
    let module = this.#modules.get(name);
    if (module === undefined) {
      module = new PythonModule(this, join(this.root, `${name.replaceAll(".", "/")}.py`));
      this.#modules.set(name, module);
    }
    return module;
  }
}

/** A class, a function, or an assignment, with where it stands. */
export interface Definition {
  module: PythonModule;
  node: SyntaxNode;
}

export class PythonModule {
  readonly #source: string;
  readonly #definitions = new Map<string, SyntaxNode>();
  readonly #imports = new Map<string, { module: string; name: string }>();

  constructor(
    private readonly sources: PythonSources,
    readonly path: string,
  ) {
    try {
      this.#source = readFileSync(path, "utf8");
    } catch (cause) {
      const expected = "expected a source file of a tau2-bench checkout";
      throw new LockstepError("FILE_ERROR", `cannot read ${path}: ${(cause as Error).message}; ${expected}`, {
        cause,
      });
    }
    const top = parser.parse(this.#source).topNode;
    top.cursor().iterate((node) => {
      if (node.type.isError) throw this.error(node.node, "Python");
    });
    for (const statement of childrenOf(top)) this.#read(statement);
  }

  #read(statement: SyntaxNode): void {
    if (statement.name === "ImportStatement") this.#readImport(statement);
    const definition = statement.name === "DecoratedStatement" ? statement.lastChild! : statement;
    const name = definition.getChild("VariableName");
    if (name !== null && /^(?:Class|Function)Definition$|^AssignStatement$/.test(definition.name))
      this.#definitions.set(this.text(name), statement);
  }

  #readImport(statement: SyntaxNode): void {
    const text = this.text(statement).replaceAll(/[()\\]|#.*/g, " ");
    const match = /^from\s+([\w.]+)\s+import\s+([\s\S]*)$/.exec(text);
    if (match === null) return;
    for (const part of match[2]!.split(",")) {
      const [name, alias = name] = part.trim().split(/\s+as\s+/);
      if (name) this.#imports.set(alias!, { module: match[1]!, name });
    }
  }

  text(node: SyntaxNode): string {
    return textOf(node, this.#source);
  }

  get source(): string {
    return this.#source;
  }

  /** What a name stands for: defined here, or in a module of the same package; undefined for all others. */
  resolve(name: string): Definition | undefined {
    const node = this.#definitions.get(name);
    if (node !== undefined) return { module: this, node };
    const from = this.#imports.get(name);
    if (from === undefined || !from.module.startsWith("tau2.")) return undefined;
    return this.sources.module(from.module).resolve(from.name);
  }

  /** Classes of the module, in the order of definition. */
  classes(): SyntaxNode[] {
    return [...this.#definitions.values()].filter((node) => node.name === "ClassDefinition");
  }

  error(node: SyntaxNode, expected: string): LockstepError {
    const line = this.#source.slice(0, node.from).split("\n").length;
    const found = JSON.stringify(this.text(node).slice(0, 60));
    return new LockstepError("FILE_ERROR", `${this.path}:${line}: expected ${expected}, found ${found}`);
  }
}

/** Statements of a class's or function's body. */
export function statementsOf(definition: SyntaxNode): SyntaxNode[] {
  return childrenOf(definition.getChild("Body")!).filter(
    (node) => !isPunctuation(node) && node.name !== "Comment",
  );
}

/** The text that a body begins with, as written. */
export function docstringOf({ module, node }: Definition): string | undefined {
  const [first] = statementsOf(node);
  const literal = first?.name === "ExpressionStatement" ? first.firstChild : null;
  return literal?.name === "String" ? stringOf(module.text(literal)) : undefined;
}

/** Expressions between brackets or parentheses, separated by commas. */
export function itemsOf(list: SyntaxNode, from = 0): SyntaxNode[] {
  return childrenOf(list)
    .slice(from)
    .filter((node) => !isPunctuation(node));
}
