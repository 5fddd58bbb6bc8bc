import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/**
 * Unit tests import src/ directly. Integration tests import the built package by its name, as a user does: run
 * `npm run build` first. Each test file has a process of its own (forks), so one may choose another addon or compute
 * path by its environment, and a crash in native code takes one file down and says which.
 */
export default defineConfig({
  resolve: {
    alias: [
      { find: /^lockstep$/, replacement: fileURLToPath(new URL("dist/index.js", import.meta.url)) },
      {
        find: /^lockstep\/eval$/,
        replacement: fileURLToPath(new URL("dist/eval/index.js", import.meta.url)),
      },
    ],
  },
  test: {
    include: ["tests/**/*.test.{ts,mjs}"],
    pool: "forks",
    // The engine's threads are the parallelism here; two files at once would only disturb each other's.
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    server: { deps: { external: [/\/dist\//, /\.node$/] } },
  },
});
