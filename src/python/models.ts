/**
 * pydantic's models in lax mode: what a field accepts, what it becomes, and the text of a ValidationError (pydantic 2.13).
 *
 * A model is a class with its fields' types in a static table; instances have them as plain properties, and assigning to one checks nothing, as in
 * pydantic. Pure.
 */
import { repr } from "./repr.js";
import { PyDate, type PyDict, PyError, PyObject, type PyValue, typeName } from "./types.js";

/** One complaint: where (field names, positions, keys), and why. */
interface Complaint {
  at: string[];
  text: string;
  type: string;
  input: PyValue;
}

/** Takes any value and gives it as the field holds it, or complains. */
export interface FieldType {
  read(input: PyValue, at: string[], complaints: Complaint[]): PyValue;
}
export type Field = FieldType | { type: FieldType; default: () => PyValue };
export type Fields = Record<string, Field>;

const complain = (
  complaints: Complaint[],
  at: string[],
  type: string,
  text: string,
  input: PyValue,
): null => {
  complaints.push({ at, type, text, input });
  return null;
};

/** A field that may be left out. Lists, dicts and models: give a function, so that each instance has its own. */
export function optionalField(type: FieldType, value: PyValue | (() => PyValue) = null): Field {
  return { type, default: typeof value === "function" ? value : () => value };
}

export const str: FieldType = {
  read: (input, at, complaints) =>
    typeof input === "string"
      ? input
      : complain(complaints, at, "string_type", "Input should be a valid string", input),
};

export const int: FieldType = {
  read(input, at, complaints) {
    const wrong = (type: string, detail: string) =>
      complain(complaints, at, type, `Input should be a valid integer${detail}`, input);
    if (typeof input === "bigint") return input;
    if (typeof input === "boolean") return BigInt(input);
    if (typeof input === "number") {
      if (!Number.isFinite(input))
        return complain(complaints, at, "finite_number", "Input should be a finite number", input);
      return Number.isInteger(input)
        ? BigInt(input)
        : wrong("int_from_float", ", got a number with a fractional part");
    }
    if (typeof input !== "string") return wrong("int_type", "");
    const match = /^[+-]?\d+(?:_\d+)*(?=(?:\.0*)?$)/.exec(input.trim());
    return match === null
      ? wrong("int_parsing", ", unable to parse string as an integer")
      : BigInt(match[0].replace(/[_+]/g, ""));
  },
};

export const float: FieldType = {
  read(input, at, complaints) {
    const wrong = (type: string, detail: string) =>
      complain(complaints, at, type, `Input should be a valid number${detail}`, input);
    if (typeof input === "number") return input;
    if (typeof input === "bigint" || typeof input === "boolean") return Number(input);
    if (typeof input !== "string") return wrong("float_type", "");
    const text = input.trim().replace(/(?<=\d)_(?=\d)/g, "");
    if (/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text)) return Number(text);
    const named = /^([+-]?)(?:(inf(?:inity)?)|nan)$/i.exec(text);
    if (named === null) return wrong("float_parsing", ", unable to parse string as a number");
    return named[2] === undefined ? Number.NaN : named[1] === "-" ? -Infinity : Infinity;
  },
};

const TRUE_TEXTS = ["1", "true", "t", "yes", "y", "on"];
const FALSE_TEXTS = ["0", "false", "f", "no", "n", "off"];

export const bool: FieldType = {
  read(input, at, complaints) {
    if (typeof input === "boolean") return input;
    const text =
      typeof input === "string"
        ? input.toLowerCase()
        : typeof input === "bigint" || typeof input === "number"
          ? String(input)
          : undefined;
    if (text === undefined)
      return complain(complaints, at, "bool_type", "Input should be a valid boolean", input);
    if (TRUE_TEXTS.includes(text)) return true;
    if (FALSE_TEXTS.includes(text)) return false;
    return complain(
      complaints,
      at,
      "bool_parsing",
      "Input should be a valid boolean, unable to interpret input",
      input,
    );
  },
};

/** One of some texts: Literal["a", "b"]. */
export const literal = (...values: string[]): FieldType => oneOf("literal_error", values);
/** A str Enum of these values: members are held as them. */
export const enumeration = (...values: string[]): FieldType => oneOf("enum", values);

function oneOf(type: string, values: string[]): FieldType {
  const quoted = values.map((value) => `'${value}'`);
  const list = quoted.length === 1 ? quoted[0] : `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`;
  return {
    read: (input, at, complaints) =>
      typeof input === "string" && values.includes(input)
        ? input
        : complain(complaints, at, type, `Input should be ${list}`, input),
  };
}

export function nullable(type: FieldType): FieldType {
  return { read: (input, at, complaints) => (input === null ? null : type.read(input, at, complaints)) };
}

export function listOf(item: FieldType): FieldType {
  return {
    read: (input, at, complaints) =>
      Array.isArray(input)
        ? Array.from(input, (one, i) => item.read(one, [...at, String(i)], complaints))
        : complain(complaints, at, "list_type", "Input should be a valid list", input),
  };
}

export function dictOf(key: FieldType, value: FieldType): FieldType {
  return {
    read: (input, at, complaints) =>
      input instanceof Map
        ? new Map(
            [...(input as PyDict)].map(([name, item]) => [
              key.read(name, [...at, String(name), "[key]"], complaints),
              value.read(item, [...at, String(name)], complaints),
            ]),
          )
        : complain(complaints, at, "dict_type", "Input should be a valid dictionary", input),
  };
}

/** The first of some models that accepts the value; each of ours has a literal of its own that tells it from the others. */
export function unionOf(...models: ModelClass[]): FieldType {
  return {
    read(input, at, complaints) {
      const all: Complaint[] = [];
      for (const model of models) {
        const found: Complaint[] = [];
        const value = modelOf(model).read(input, [...at, model.name], found);
        if (found.length === 0) return value;
        all.push(...found);
      }
      complaints.push(...all);
      return null;
    },
  };
}

const DATE = /^\d{4}-\d{2}-\d{2}$/;
const DATETIME = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)$/;

export const date: FieldType = {
  read(input, at, complaints) {
    if (input instanceof PyDate) return input;
    if (typeof input === "string" && DATE.test(input)) return new PyDate(input);
    return complain(complaints, at, "date_type", "Input should be a valid date", input);
  },
};

export const datetime: FieldType = {
  read(input, at, complaints) {
    if (input instanceof PyDate) return input.text.length > 10 ? input : new PyDate(`${input.text} 00:00:00`);
    const match =
      typeof input === "string"
        ? (DATETIME.exec(input) ?? (DATE.test(input) ? [input, input, "00:00:00"] : null))
        : null;
    if (match === null)
      return complain(complaints, at, "datetime_type", "Input should be a valid datetime", input);
    return new PyDate(`${match[1]} ${match[2]!.padEnd(8, ":00")}`);
  },
};

// biome-ignore lint/suspicious/noExplicitAny: a class of any model
export type ModelClass<T extends Model = any> = (new () => T) & {
  name: string;
  fields: Fields;
  extra: "ignore" | "forbid";
};

export abstract class Model extends PyObject {
  /** The fields in the order of declaration, inherited ones first (spread the parent's). */
  static fields: Fields;
  /** Whether keys that are no fields are left out or refused. */
  static extra: "ignore" | "forbid" = "ignore";

  override get className(): string {
    return this.constructor.name;
  }
  override entries(): [string, PyValue][] {
    return Object.keys(fieldsOf(this)).map((name) => [name, valueIn(this, name)]);
  }
  override field(name: string): PyValue | undefined {
    return Object.hasOwn(fieldsOf(this), name) ? valueIn(this, name) : undefined;
  }
}

const fieldsOf = (model: Model) => (model.constructor as unknown as ModelClass).fields;
const valueIn = (model: Model, name: string) => (model as unknown as Record<string, PyValue>)[name]!;

/** An instance of `model` from a dict, or from an object with the fields' names; a ValidationError is a PyError. */
export function make<T extends Model>(model: ModelClass<T>, given: PyDict | Record<string, PyValue>): T {
  const complaints: Complaint[] = [];
  const input = given instanceof Map ? given : new Map<PyValue, PyValue>(Object.entries(given));
  const value = readModel(model, input, [], complaints);
  if (complaints.length > 0) throw validationError(model.name, complaints);
  return value as T;
}

/** A nested model: a dict that it accepts, or an instance as it is (not a copy). */
export function modelOf(model: ModelClass): FieldType {
  return {
    read(input, at, complaints) {
      if (input instanceof model) return input;
      if (input instanceof Map) return readModel(model, input as PyDict, at, complaints);
      return complain(
        complaints,
        at,
        "model_type",
        `Input should be a valid dictionary or instance of ${model.name}`,
        input,
      );
    },
  };
}

function readModel(model: ModelClass, input: PyDict, at: string[], complaints: Complaint[]): PyValue {
  const instance = new model() as unknown as Record<string, PyValue>;
  for (const [name, field] of Object.entries(model.fields)) {
    const type = "read" in field ? field : field.type;
    if (input.has(name)) instance[name] = type.read(input.get(name)!, [...at, name], complaints);
    else if ("read" in field) complain(complaints, [...at, name], "missing", "Field required", input);
    else instance[name] = field.default();
  }
  if (model.extra === "forbid")
    for (const [name, value] of input)
      if (!Object.hasOwn(model.fields, name as string))
        complain(
          complaints,
          [...at, String(name)],
          "extra_forbidden",
          "Extra inputs are not permitted",
          value,
        );
  return instance as unknown as PyValue;
}

const MORE = "For further information visit https://errors.pydantic.dev/2.13/v/";

function validationError(title: string, complaints: Complaint[]): PyError {
  const details = complaints.map(
    ({ at, text, type, input }) =>
      `${at.join(".")}\n  ${text} [type=${type}, input_value=${shortened(repr(input))}, input_type=${typeName(input)}]\n    ${MORE}${type}`,
  );
  const count = `${complaints.length} validation error${complaints.length === 1 ? "" : "s"}`;
  return new PyError("ValidationError", [`${count} for ${title}`, ...details].join("\n"));
}

/** At most 50 bytes of UTF-8 as they are; else about 25 from the start and 24 from the end, at the limits of characters. */
function shortened(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= 50) return text;
  let head = 25;
  while (isContinuation(bytes[head]!)) head--;
  let tail = bytes.length - 24;
  while (tail < bytes.length && isContinuation(bytes[tail]!)) tail++;
  return `${bytes.subarray(0, head)}...${bytes.subarray(tail)}`;
}

const isContinuation = (byte: number) => (byte & 0xc0) === 0x80;
