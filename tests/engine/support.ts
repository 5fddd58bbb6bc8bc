/** What the engine tests share: the demo checkpoint, child processes, waiting. */
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Engine, type LoadOptions } from "lockstep";

export const kDemoModel = fileURLToPath(new URL("../../examples/demo/model", import.meta.url));

/** A prompt that the demo model goes on about for as long as it is let. */
export const kTokens = { tokens: [695, 82, 88, 274, 68, 76, 198] };
export const kEndless = { temperature: 0, ignoreEos: true };

/** Loads the demo checkpoint, hands the engine to `body` and closes it. */
export async function withEngine<T>(options: LoadOptions, body: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.load(kDemoModel, options);
  try {
    return await body(engine);
  } finally {
    await engine.close();
  }
}

/** Waits until `condition` holds; fails after ten seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (const start = performance.now(); !condition(); await sleep(2))
    if (performance.now() - start > 10_000) throw new Error(`waited in vain until ${what}`);
}

export interface ChildResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** From the line "go" on stdout to the end. */
  msAfterGo: number;
}

export interface ChildOptions {
  args?: string[];
  nodeArgs?: string[];
  env?: Record<string, string>;
  timeoutMs?: number;
}

/** Runs children/NAME.mjs in a Node of its own; it gets the model's directory as its first argument. */
export function runChild(name: string, options: ChildOptions = {}): Promise<ChildResult> {
  const script = fileURLToPath(new URL(`./children/${name}.mjs`, import.meta.url));
  const { args = [], nodeArgs = [], env = {}, timeoutMs = 30_000 } = options;
  const child = spawn(process.execPath, [...nodeArgs, script, kDemoModel, ...args], {
    env: { ...process.env, NODE_OPTIONS: "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  return new Promise((resolve, reject) => {
    let stdout = "";
    let stderr = "";
    let go = performance.now();
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (!/^go$/m.test(stdout) && /^go$/m.test(stdout + text)) go = performance.now();
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.on("error", reject);
    child.on("close", (code, signal) =>
      resolve({ code, signal, stdout, stderr, msAfterGo: performance.now() - go }),
    );
  });
}
