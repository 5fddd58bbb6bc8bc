// Builds the addon (cmake-js against node-api-headers: nothing is downloaded), then the TypeScript.
// Run by `npm install`, `npm ci` and `npm run build`. `--sanitize=address,undefined` builds an addon with
// sanitizers into build-sanitize/.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);

function run(script, args) {
  const { status } = spawnSync(process.execPath, [script, ...args], { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

const sanitize = process.argv
  .find((argument) => argument.startsWith("--sanitize="))
  ?.slice("--sanitize=".length);
const output = sanitize ? ["-O", join(root, "build-sanitize"), `--CDLOCKSTEP_SANITIZE=${sanitize}`] : [];
run(join(dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js"), ["compile", ...output]);

// An installed package ships dist/; a checkout has the compiler as a development dependency.
if (existsSync(join(root, "tsconfig.build.json"))) {
  run(join(dirname(require.resolve("typescript/package.json")), "bin", "tsc"), ["-p", "tsconfig.build.json"]);
}
