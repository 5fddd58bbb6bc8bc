/** The benchmark's domains: which files each is made of, and how an environment of it comes about. */
import { LockstepError } from "../../index.js";
import { loads } from "../../python/json.js";
import type { Model, ModelClass } from "../../python/models.js";
import { type PyDict, PyError } from "../../python/types.js";
import { FlightDB } from "./airline/data-model.js";
import { airlineTools } from "./airline/tools.js";
import type { DomainName, ReadFile, World } from "./data.js";
import { bindToolkit, Environment } from "./environment.js";
import { sharedDatabases } from "./records.js";
import { RetailDB } from "./retail/data-model.js";
import { retailTools } from "./retail/tools.js";
import { loadsToml, telecomEnvironment } from "./telecom/world.js";
import type { ToolkitClass } from "./toolkit.js";

/** A domain whose users have no tools: one database, nothing to synchronise. */
function agentOnly<Kit extends Model>(toolkit: ToolkitClass<Kit>, model: ModelClass<Kit>): World {
  return {
    userTools: false,
    policy: (read) => read("policy.md"),
    open(read) {
      const fresh = database(read, "db.json", loads, (data) => sharedDatabases(model, data));
      return () => {
        const db = fresh();
        return new Environment(bindToolkit(toolkit, db, db), null);
      };
    },
  };
}

const telecom: World = {
  userTools: true,
  policy: (read) =>
    [
      ...["<main_policy>", read("main_policy.md"), "</main_policy>"],
      ...["<tech_support_policy>", read("tech_support_manual.md"), "</tech_support_policy>"],
    ].join("\n"),
  open(read) {
    const agentData = database(read, "db.toml", loadsToml, (data) => data);
    const userData = database(read, "user_db.toml", loadsToml, (data) => data);
    return () => telecomEnvironment(agentData, userData);
  },
};

export const kWorlds: Readonly<Record<DomainName, World>> = {
  airline: agentOnly(airlineTools, FlightDB),
  retail: agentOnly(retailTools, RetailDB),
  telecom,
};

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
