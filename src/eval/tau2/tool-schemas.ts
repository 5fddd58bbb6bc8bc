/**
 * Tools as a model is told of them: name, description and JSON schema of the parameters, derived from a checkout's Python sources as pydantic 2.11 and
 * later makes them (a bare `dict` allows any properties), or read from files.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { SyntaxNode } from "@lezer/common";
import { LockstepError } from "../../index.js";
import { loads } from "../../python/json.js";
import { childrenOf, literalValue } from "../../python/literals.js";
import { compareText } from "../../python/text.js";
import { type PyDict, PyError, type PyValue } from "../../python/types.js";
import type { DomainName } from "./data.js";
import { cleaned, parseDocstring } from "./docstring.js";
import {
  type Definition,
  docstringOf,
  itemsOf,
  type PythonModule,
  PythonSources,
  statementsOf,
} from "./python-source.js";

export interface ToolSchema {
  name: string;
  description: string;
  /** JSON schema, keys in pydantic's order. */
  parameters: PyDict;
}

export interface DomainSchemas {
  /** The agent's, `done` last. */
  agent: ToolSchema[];
  /** The user's; empty where users have no tools. */
  user: ToolSchema[];
}

/** From `DIR/src/tau2`. */
export function deriveToolSchemas(directory: string, domain: DomainName): DomainSchemas {
  const sources = new PythonSources(join(directory, "src"));
  const tools = (module: string) => toolsOf(sources.module(`tau2.domains.${domain}.${module}`));
  const done = sources.module("tau2.gym.gym_agent").resolve("done");
  if (done === undefined)
    throw new LockstepError(
      "FILE_ERROR",
      `${directory}: expected a function done in src/tau2/gym/gym_agent.py`,
    );
  return {
    agent: [...tools("tools"), toolSchema(done)],
    user: domain === "telecom" ? tools("user_tools") : [],
  };
}

/** From `schemas_{domain}.json`: `{ agent, user }`, lists of OpenAI-style tools. */
export function readToolSchemas(directory: string, domain: DomainName): DomainSchemas {
  const path = join(directory, `schemas_${domain}.json`);
  try {
    const data = loads(readFileSync(path, "utf8")) as PyDict;
    return { agent: listed(data.get("agent")), user: listed(data.get("user") ?? []) };
  } catch (cause) {
    const message = (cause as Error).message;
    throw new LockstepError(
      "FILE_ERROR",
      `cannot read ${path}: ${message}; expected { "agent": [tool, …], "user": [tool, …] }`,
      {
        cause,
      },
    );
  }
}

function listed(tools: PyValue | undefined): ToolSchema[] {
  if (!Array.isArray(tools)) throw new Error("no list of tools");
  return tools.map((tool) => {
    const schema = (tool as PyDict).get("function") as PyDict;
    const [name, description, parameters] = ["name", "description", "parameters"].map((field) =>
      schema.get(field),
    );
    if (typeof name !== "string" || typeof description !== "string" || !(parameters instanceof Map))
      throw new Error("a tool without name, description or parameters");
    return { name, description, parameters: parameters as PyDict };
  });
}

/** Methods with the decorator `is_tool` of the module's toolkit, in the order of definition. */
export function toolsOf(module: PythonModule): ToolSchema[] {
  const schemas: ToolSchema[] = [];
  for (const toolkit of module.classes())
    for (const statement of statementsOf(toolkit)) {
      const decorators = statement.name === "DecoratedStatement" ? statement.getChildren("Decorator") : [];
      if (decorators.some((decorator) => /^@is_tool\b/.test(module.text(decorator))))
        schemas.push(toolSchema({ module, node: statement.lastChild! }));
    }
  return schemas;
}

function toolSchema(definition: Definition): ToolSchema {
  const { module, node } = definition;
  const name = module.text(node.getChild("VariableName")!);
  const doc = parseDocstring(docstringOf(definition) ?? "");
  const description = doc.long === "" ? doc.short || name : `${doc.short}\n\n${doc.long}`;
  const types = new TypeSchemas();
  const fields = parametersOf(module, node).map((parameter): Field => {
    const described = doc.parameters.get(parameter.name);
    return { module, ...parameter, ...(described === undefined ? {} : { description: described }) };
  });
  return { name, description, parameters: types.root("parameters", fields) };
}

/** A field of a model or a parameter of a function. */
interface Field {
  module: PythonModule;
  name: string;
  type: SyntaxNode | null;
  description?: string;
  /** Absent where it is required; `undefined` where a value is made anew each time, which a schema does not show. */
  default?: PyValue | undefined;
}

function parametersOf(module: PythonModule, definition: SyntaxNode): Omit<Field, "module">[] {
  const parameters: Omit<Field, "module">[] = [];
  const nodes = childrenOf(definition.getChild("ParamList")!);
  for (const [i, node] of nodes.entries()) {
    if (node.name !== "VariableName" || nodes[i - 1]?.name === "AssignOp" || module.text(node) === "self")
      continue;
    const typed = nodes[i + 1]?.name === "TypeDef" ? nodes[i + 1]! : null;
    const next = i + (typed === null ? 1 : 2);
    const given = nodes[next]?.name === "AssignOp" ? { default: literalIn(module, nodes[next + 1]!) } : {};
    parameters.push({ name: module.text(node), type: typed?.lastChild ?? null, ...given });
  }
  return parameters;
}

function literalIn(module: PythonModule, node: SyntaxNode): PyValue {
  node.cursor().iterate(({ name }) => {
    if (name === "VariableName") throw module.error(node, "a literal"); // literalValue() takes a name for its text
  });
  try {
    return literalValue(node, module.source);
  } catch (error) {
    if (error instanceof PyError) throw module.error(node, "a literal");
    throw error;
  }
}

type Schema = Record<string, PyValue>;

const sorted = (schema: Schema): PyDict =>
  new Map(Object.entries(schema).sort(([a], [b]) => compareText(a, b)));

/** Schemas of the types that one tool's parameters use; classes among them become `$defs`. */
class TypeSchemas {
  readonly #definitions = new Map<string, PyDict>();

  root(title: string, fields: Field[]): PyDict {
    const schema = this.#object(title, fields);
    if (this.#definitions.size === 0) return sorted(schema);
    const definitions = [...this.#definitions].sort(([a], [b]) => compareText(a, b));
    return sorted({ ...schema, $defs: new Map(definitions) });
  }

  #object(title: string, fields: Field[]): Schema {
    const properties: PyDict = new Map(fields.map((field) => [field.name, this.#property(field)]));
    const required = fields.filter((field) => !("default" in field)).map(({ name }) => name);
    return { properties, ...(required.length > 0 ? { required } : {}), title, type: "object" };
  }

  #property(field: Field): PyDict {
    const schema = field.type === null ? {} : this.#type(field.module, field.type);
    if (field.description !== undefined) schema.description = field.description;
    if (field.default !== undefined) schema.default = field.default;
    if (!("$ref" in schema)) schema.title = titleOf(field.name);
    return sorted(schema);
  }

  #type(module: PythonModule, node: SyntaxNode): Schema {
    const text = module.text(node);
    const simple = SIMPLE_TYPES[text];
    if (simple !== undefined) return { ...simple };
    if (node.name === "String") throw module.error(node, "a type that is no text");
    if (node.name === "VariableName") return this.#named(module, node, text);
    if (node.name === "BinaryExpression" && node.getChild("BitOp") !== null)
      return this.#union(module, [node.firstChild!, node.lastChild!]);
    if (node.name !== "MemberExpression" || node.getChild("[") === null) throw module.error(node, "a type");
    return this.#generic(module, node, module.text(node.firstChild!), itemsOf(node, 1));
  }

  #generic(module: PythonModule, node: SyntaxNode, name: string, items: SyntaxNode[]): Schema {
    const wanted = ITEMS[name];
    if (wanted !== undefined && items.length !== wanted)
      throw module.error(node, `a type with ${wanted} in its brackets`);
    const of = (item: SyntaxNode) => sorted(this.#type(module, item));
    switch (name) {
      case "List":
      case "list":
        return { items: of(items[0]!), type: "array" };
      case "Dict":
      case "dict":
        return {
          additionalProperties: module.text(items[1]!) === "Any" ? true : of(items[1]!),
          type: "object",
        };
      case "Optional":
        return { anyOf: [...this.#members(module, items), sorted({ type: "null" })] };
      case "Union":
        return this.#union(module, items);
      case "Literal":
        return choices(items.map((item) => literalIn(module, item)));
      case "Annotated":
        return { ...this.#type(module, items[0]!), ...described(module, items[1]!) };
      default:
        throw module.error(node, "a type of List, Dict, Optional, Union, Literal or Annotated");
    }
  }

  #union(module: PythonModule, items: SyntaxNode[]): Schema {
    return { anyOf: this.#members(module, items) };
  }

  /** A union in a union is one. */
  #members(module: PythonModule, items: SyntaxNode[]): PyDict[] {
    return items.flatMap((item) => {
      const schema = this.#type(module, item);
      return "anyOf" in schema ? (schema.anyOf as PyDict[]) : [sorted(schema)];
    });
  }

  /** A class of the sources, or another name for a type. */
  #named(module: PythonModule, node: SyntaxNode, alias: string): Schema {
    const definition = module.resolve(alias);
    if (definition === undefined) throw module.error(node, "a type that the sources define");
    const target = definition.node;
    if (target.name === "AssignStatement") return this.#type(definition.module, target.lastChild!);
    if (target.name !== "ClassDefinition") throw module.error(node, "a class or a type");
    const name = definition.module.text(target.getChild("VariableName")!);
    if (!this.#definitions.has(name)) {
      this.#definitions.set(name, new Map()); // a class may hold itself
      this.#definitions.set(name, this.#class(name, definition));
    }
    return { $ref: `#/$defs/${name}` };
  }

  #class(name: string, definition: Definition): PyDict {
    const docstring = docstringOf(definition);
    const schema: Schema = docstring === undefined ? {} : { description: cleaned(docstring) };
    const lineage = lineageOf(definition);
    if (basesOf(definition).includes("Enum")) {
      const members = statementsOf(definition.node).filter(
        (statement) => statement.name === "AssignStatement",
      );
      return sorted({
        ...schema,
        ...choices(members.map((member) => literalIn(definition.module, member.lastChild!))),
        title: name,
      });
    }
    const forbidden = lineage.some(({ module, node }) =>
      /\bextra\s*=\s*["']forbid["']/.test(module.text(node.getChild("Body")!)),
    );
    const fields = new Map(lineage.flatMap(fieldsOf).map((field) => [field.name, field])); // a later one takes an earlier one's place
    const object = this.#object(name, [...fields.values()]);
    return sorted({ ...schema, ...object, ...(forbidden ? { additionalProperties: false } : {}) });
  }
}

const SIMPLE_TYPES: Record<string, Schema> = {
  str: { type: "string" },
  int: { type: "integer" },
  float: { type: "number" },
  bool: { type: "boolean" },
  None: { type: "null" },
  Any: {},
  dict: { additionalProperties: true, type: "object" },
  Dict: { additionalProperties: true, type: "object" },
  list: { items: new Map(), type: "array" },
  List: { items: new Map(), type: "array" },
};

/** How many types stand in a generic's brackets. */
const ITEMS: Record<string, number> = { List: 1, list: 1, Dict: 2, dict: 2, Optional: 1, Annotated: 2 };

function choices(values: PyValue[]): Schema {
  const type: Schema = values.every((value) => typeof value === "string") ? { type: "string" } : {};
  return values.length === 1 ? { const: values[0]!, ...type } : { enum: values, ...type };
}

/** Words of a name, each with a capital. */
function titleOf(name: string): string {
  return name
    .replaceAll("_", " ")
    .replace(/[A-Za-z]+/g, (word) => word[0]!.toUpperCase() + word.slice(1).toLowerCase());
}

function basesOf({ module, node }: Definition): string[] {
  const list = node.getChild("ArgList");
  return list === null ? [] : itemsOf(list).map((base) => module.text(base));
}

/** The class and those it inherits from, as far as the sources define them, the first ancestor first. */
function lineageOf(definition: Definition): Definition[] {
  const parents = basesOf(definition).flatMap((base) => definition.module.resolve(base) ?? []);
  return [...parents.flatMap(lineageOf), definition];
}

/** `name: type`, `name: type = value` and `name: type = Field(value, description=…)`. */
function fieldsOf({ module, node }: Definition): Field[] {
  return statementsOf(node).flatMap((statement) => {
    const type =
      statement.name === "AssignStatement" ? (statement.getChild("TypeDef")?.lastChild ?? null) : null;
    if (type === null) return [];
    const name = module.text(statement.getChild("VariableName")!);
    const value = statement.getChild("AssignOp")?.nextSibling ?? null;
    return [{ module, name, type, ...(value === null ? {} : declared(module, value)) }];
  });
}

/** What Field() says of an annotated type. */
function described(module: PythonModule, field: SyntaxNode): Schema {
  const { description } = declared(module, field);
  return description === undefined ? {} : { description };
}

function declared(module: PythonModule, value: SyntaxNode): Pick<Field, "description" | "default"> {
  if (value.name !== "CallExpression" || module.text(value.firstChild!) !== "Field")
    return { default: shownDefault(module, value) };
  const field: Pick<Field, "description" | "default"> = {};
  const nodes = childrenOf(value.getChild("ArgList")!);
  for (const [i, node] of nodes.entries()) {
    const before = nodes[i - 1]?.name;
    if (before === "AssignOp") {
      const keyword = module.text(nodes[i - 2]!);
      if (keyword === "description") field.description = literalIn(module, node) as string;
      if (keyword === "default") field.default = shownDefault(module, node);
      if (keyword === "default_factory") field.default = undefined;
    } else if (
      before === "(" &&
      node.name !== ")" &&
      nodes[i + 1]?.name !== "AssignOp" &&
      node.name !== "Ellipsis"
    )
      field.default = shownDefault(module, node);
  }
  return field;
}

/** A member of an enumeration is shown as its value. */
function shownDefault(module: PythonModule, node: SyntaxNode): PyValue {
  if (node.name !== "MemberExpression") return literalIn(module, node);
  const [owner, member] = [module.text(node.firstChild!), module.text(node.lastChild!)];
  const definition = module.resolve(owner);
  const assignment =
    definition &&
    statementsOf(definition.node).find(
      (statement) =>
        statement.name === "AssignStatement" && definition.module.text(statement.firstChild!) === member,
    );
  if (definition === undefined || assignment === undefined)
    throw module.error(node, "a literal or a member of an enumeration");
  return literalIn(definition.module, assignment.lastChild!);
}
