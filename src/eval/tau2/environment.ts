/**
 * The world of one attempt: the agent's toolkit, the user's where the domain has one, and what keeps the two in step.
 *
 * Owns both databases. A call of either participant becomes a tool message, error or result; errors are the original's texts, those of its
 * own layers for arguments that collide with their parameters included. Synchronous.
 */
import { str } from "../../python/repr.js";
import {
  type PyArguments,
  type PyDict,
  PyError,
  type PyObject,
  type PyValue,
  typeError,
  valueError,
} from "../../python/types.js";
import type { ToolCall } from "./action.js";
import { hashOf, resultText, type ToolkitClass, useFunction, useTool } from "./toolkit.js";

export type Requestor = "assistant" | "user";

/** A toolkit bound to what it works on. */
export interface Toolkit {
  database: PyObject;
  useTool(name: string, given: PyArguments): PyValue;
  useFunction(name: string, given: PyArguments): PyValue;
}

export function bindToolkit<Kit>(toolkit: ToolkitClass<Kit>, kit: Kit, database: PyObject): Toolkit {
  return {
    database,
    useTool: (name, given) => useTool(toolkit, kit, name, given),
    useFunction: (name, given) => useFunction(toolkit, kit, name, given),
  };
}

export interface ToolMessage {
  role: "tool";
  id: string;
  content: string;
  requestor: Requestor;
  error: boolean;
}

/** A function that a task calls: an initial action, or an assertion with the value it should have. */
export interface FunctionCall {
  envType: Requestor;
  name: string;
  arguments: PyArguments;
}

export class Environment {
  constructor(
    private readonly assistant: Toolkit,
    private readonly user: Toolkit | null,
    /** Brings both databases in step; throws PyError where the scenario does not allow it. */
    readonly sync: () => void = () => {},
  ) {}

  /** A participant's call, and the synchronisation after it. */
  answer(call: ToolCall): ToolMessage {
    let content: string;
    let error = false;
    try {
      const result = this.callTool(call.name, call.requestor, call.arguments);
      this.sync();
      content = resultText(result);
    } catch (thrown) {
      if (!(thrown instanceof PyError)) throw thrown;
      content = `Error: ${thrown.message}`;
      error = true;
    }
    return { role: "tool", id: call.id, content, requestor: call.requestor, error };
  }

  /** A tool's result, without synchronisation. */
  callTool(name: string, requestor: Requestor, given: PyDict): PyValue {
    refuseCollisions(given);
    const toolkit = requestor === "user" ? this.user : this.assistant;
    if (toolkit === null) throw valueError("User tools not available");
    return toolkit.useTool(name, given as PyArguments);
  }

  /** A function that a task names, and the synchronisation after it. */
  callFunction({ envType, name, arguments: given }: FunctionCall): PyValue {
    const toolkit = envType === "user" ? this.user : this.assistant;
    if (toolkit === null) throw new PyError("AttributeError", `'NoneType' object has no attribute '${name}'`);
    const result = toolkit.useFunction(name, given);
    this.sync();
    return result;
  }

  hashes(): { db: string; userDb: string | null } {
    return {
      db: hashOf(this.assistant.database),
      userDb: this.user === null ? null : hashOf(this.user.database),
    };
  }
}

/** Arguments named as the parameters of the layers above the tools, which take them first. */
function refuseCollisions(given: PyDict): void {
  if (given.has("requestor"))
    throw typeError(
      "tau2.environment.environment.Environment.make_tool_call() got multiple values for keyword argument 'requestor'",
    );
  for (const key of given.keys()) {
    if (typeof key !== "string") throw typeError("keywords must be strings");
    if (key === "self" || key === "tool_name")
      throw typeError(`Environment.make_tool_call() got multiple values for argument '${str(key)}'`);
  }
}
