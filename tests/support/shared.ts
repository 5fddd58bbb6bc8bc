/**
 * Where tests find the goldens and the demo: a folder `shared` next to the checkout. It is absent outside CI; the tests
 * that need it are then skipped, and say why.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe } from "vitest";

const root = fileURLToPath(new URL("../../../shared/", import.meta.url));

export const hasShared = existsSync(root);

/** The path of a file or folder below `shared`. */
export function sharedPath(...parts: string[]): string {
  return [root.replace(/[\\/]$/, ""), ...parts].join("/");
}

/** The rows of a JSON-lines file below `shared`. */
export function sharedRows<Row>(...parts: string[]): Row[] {
  const lines = readFileSync(sharedPath(...parts), "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Row);
}

/** `describe`, or a skipped one that says why. */
export function describeIfShared(name: string, body: () => void): void {
  describeIf(hasShared, "there is no ../shared next to the checkout", name, body);
}

/** A suite that runs where `condition` holds, and is skipped with the reason in its name elsewhere. */
export function describeIf(condition: boolean, reason: string, name: string, body: () => void): void {
  if (condition) describe(name, body);
  else describe.skip(`${name} (skipped: ${reason})`, body);
}
