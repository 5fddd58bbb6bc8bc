/**
 * The data part of a tau2-bench checkout, `DIR/data/tau2`: databases, tasks, splits, policies and the user simulator's guidelines.
 *
 * Owns reading and checking: each file is held against the release that published results come from, since another database gives other
 * results. Read once per domain, on first use; what environments change is theirs (Records).
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { LockstepError } from "../../index.js";
import { loads } from "../../python/json.js";
import { type PyDict, PyError, type PyValue } from "../../python/types.js";
import type { Environment } from "./environment.js";
import { kFileHashes } from "./file-hashes.js";
import { readTask, type Tau2Task } from "./tasks.js";
import { kWorlds } from "./worlds.js";

export const kDomains = ["airline", "retail", "telecom"] as const;
export type DomainName = (typeof kDomains)[number];

/** Reads one of the data's files; errors name it. */
export type ReadFile = (path: string) => string;

/** What differs between domains: see worlds.ts. */
export interface World {
  policy(read: ReadFile): string;
  /** Reads the databases and gives what makes environments of them. */
  open(read: ReadFile): () => Environment;
  userTools: boolean;
}

export interface DomainData {
  name: DomainName;
  policy: string;
  /** What the simulated user is told beside its scenario; another file where users have tools. */
  guidelines: string;
  splits: ReadonlyMap<string, readonly string[]>;
  /** In the order of the file. */
  taskIds: readonly string[];
  task(id: string): Tau2Task;
  /** A fresh environment as the databases have it, before any task's initial actions. */
  fresh(): Environment;
  /** A fresh environment in the task's initial state; PyError where that cannot be reached. */
  environment(task: Tau2Task): Environment;
}

export interface Tau2DataOptions {
  /** Take data files that differ from the release's. Results are then not comparable. Default false. */
  allowOtherData?: boolean;
}

export class Tau2Data {
  readonly #root: string;
  readonly #allowOtherData: boolean;
  readonly #domains = new Map<DomainName, DomainData>();
  /** Files that were read and are not the release's. */
  readonly differing = new Set<string>();

  /** @param directory a tau2-bench checkout, or a folder that holds its `data` */
  constructor(directory: string, { allowOtherData = false }: Tau2DataOptions = {}) {
    this.#root = join(directory, "data", "tau2");
    this.#allowOtherData = allowOtherData;
  }

  domain(name: DomainName): DomainData {
    let data = this.#domains.get(name);
    if (data === undefined) {
      data = this.#open(name);
      this.#domains.set(name, data);
    }
    return data;
  }

  #open(name: DomainName): DomainData {
    const world = kWorlds[name];
    const folder = `domains/${name}`;
    const inFolder: ReadFile = (file) => this.#read(`${folder}/${file}`);
    const entries = this.#tasks(`${folder}/tasks.json`);
    const fresh = world.open(inFolder);
    const guidelines = world.userTools ? "simulation_guidelines_tools.md" : "simulation_guidelines.md";
    return {
      name,
      policy: world.policy(inFolder),
      guidelines: this.#read(`user_simulator/${guidelines}`),
      splits: new Map(this.#json(`${folder}/split_tasks.json`) as Map<string, string[]>),
      taskIds: [...entries.keys()],
      task: (id) => this.#task(`${folder}/tasks.json`, id, entries.get(id)!),
      fresh,
      environment(task) {
        const environment = fresh();
        for (const action of task.initialActions) environment.callFunction(action);
        environment.sync();
        return environment;
      },
    };
  }

  #tasks(path: string): Map<string, PyDict> {
    const list = this.#json(path);
    const isTask = (entry: PyValue) => entry instanceof Map && typeof entry.get("id") === "string";
    if (!Array.isArray(list) || !list.every(isTask))
      throw new LockstepError("FILE_ERROR", `${this.#path(path)}: expected a list of tasks, each with an id`);
    return new Map((list as PyDict[]).map((entry) => [entry.get("id") as string, entry]));
  }

  #task(path: string, id: string, entry: PyDict): Tau2Task {
    try {
      return readTask(entry);
    } catch (error) {
      if (!(error instanceof PyError)) throw error;
      throw new LockstepError("FILE_ERROR", `${this.#path(path)}: task ${id}: ${error.message}`);
    }
  }

  #json(path: string): PyValue {
    try {
      return loads(this.#read(path));
    } catch (error) {
      if (!(error instanceof PyError)) throw error;
      throw new LockstepError("FILE_ERROR", `${this.#path(path)} is not JSON: ${error.message}`);
    }
  }

  #read(path: string): string {
    let bytes: Buffer;
    try {
      bytes = readFileSync(this.#path(path));
    } catch (cause) {
      const expected = "expected a tau2-bench checkout, or a folder with its data/tau2";
      throw new LockstepError(
        "FILE_ERROR",
        `cannot read ${this.#path(path)}: ${(cause as Error).message}; ${expected}`,
        {
          cause,
        },
      );
    }
    this.#check(path, createHash("sha256").update(bytes).digest("hex"));
    return bytes.toString("utf8");
  }

  #check(path: string, found: string): void {
    const expected = kFileHashes[path];
    if (expected === undefined || expected === found) return;
    this.differing.add(path);
    if (!this.#allowOtherData)
      throw new LockstepError(
        "FILE_ERROR",
        `${this.#path(path)} is not the file that results are compared on: expected SHA-256 ${expected}, found ${found}`,
      );
  }

  #path(path: string): string {
    return join(this.#root, path);
  }
}
