/** The benchmark's domains: which files each is made of, and how an environment of it comes about. */
import { LockstepError } from "../../index.js";
import { loads } from "../../python/json.js";
import { type PyDict, PyError } from "../../python/types.js";
import { airlineDatabases } from "./airline/data-model.js";
import { airlineTools } from "./airline/tools.js";
import type { DomainName, ReadFile, World } from "./data.js";
import { bindToolkit, Environment } from "./environment.js";

export const kWorlds: Readonly<Record<DomainName, World>> = {
  airline: {
    userTools: false,
    policy: (read) => read("policy.md"),
    open(read) {
      const fresh = database(read, "db.json", loads, airlineDatabases);
      return () => {
        const db = fresh();
        return new Environment(bindToolkit(airlineTools, db, db), null);
      };
    },
  },
} as never;

/** Reads a database and validates it; errors name the file. */
function database<T>(
  read: ReadFile,
  file: string,
  parse: (text: string) => unknown,
  open: (data: PyDict) => T,
): T {
  const text = read(file);
  try {
    return open(parse(text) as PyDict);
  } catch (error) {
    if (!(error instanceof PyError)) throw error;
    throw new LockstepError("FILE_ERROR", `${file} is not the database that was expected: ${error.message}`);
  }
}
