/**
 * Objects compiled for an instruction set must share no function with the rest of the program: the linker would keep one
 * copy, so another path would compute other bits, or an older CPU would meet an instruction it lacks. So an object of
 * native/ops/cpu/kernels may define its table and nothing else that the linker can see.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { addon, paths } from "./native.js";

const buildDir = basename(dirname(addon)) === "Release" ? dirname(dirname(addon)) : dirname(addon);
const objects = readdirSync(buildDir, { recursive: true, encoding: "utf8" }).filter((file) =>
  /lockstep_kernels_\w+\.dir.*\.o$/.test(file),
);

/** Symbols that an object defines for others: anything global, weak or unique except a kernel table. */
function sharedSymbols(object: string): string[] {
  return execFileSync("nm", ["--defined-only", "--extern-only", object], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line !== "" && !/ [DRB] \w*k\w+Kernels\w*$/.test(line))
    .filter((line) => !/__odr_asan|DW\.ref/.test(line)); // data that a sanitizer build adds
}

function compile(source: string, check: (object: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "lockstep-isa-"));
  try {
    writeFileSync(join(folder, "canary.cpp"), source);
    const compiler = process.env.CXX ?? "c++";
    execFileSync(compiler, ["-std=c++20", "-O0", "-c", "canary.cpp", "-o", "canary.o"], { cwd: folder });
    check(join(folder, "canary.o"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("objects of the instruction sets", () => {
  it("are all there", () => {
    expect(objects.length).toBeGreaterThanOrEqual(paths.length);
  });

  it.each(objects)("%s shares no function", (object) => {
    expect(sharedSymbols(join(buildDir, object))).toEqual([]);
  });

  it("canary: an inline function, a std template and a global function are found", () => {
    compile(
      "inline int shared(int x) { return x + 1; }\nextern const int kUseKernels = shared(1);",
      (object) => {
        expect(sharedSymbols(object)).toHaveLength(1);
      },
    );
    compile("#include <algorithm>\nint f();\nextern const int kUseKernels = std::max(f(), 2);", (object) => {
      expect(sharedSymbols(object).length).toBeGreaterThan(0);
    });
    compile("int global() { return 1; }", (object) => {
      expect(sharedSymbols(object)).toHaveLength(1);
    });
  });
});
