// Formats native/ with the clang-format that npm brought; with --check, only says which files differ.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const tool = createRequire(import.meta.url).resolve("clang-format/index.js");
const sources = readdirSync(join(root, "native"), { recursive: true, encoding: "utf8" })
  .filter((name) => /\.(h|cpp|cu|cuh)$/.test(name))
  .map((name) => join("native", name));
const mode = process.argv.includes("--check") ? ["--dry-run", "-Werror"] : ["-i"];
const { status } = spawnSync(process.execPath, [tool, ...mode, ...sources], { cwd: root, stdio: "inherit" });
process.exit(status ?? 1);
