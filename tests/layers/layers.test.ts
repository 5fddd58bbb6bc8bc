/** scripts/check-layers.mjs on the repository, and on a copy with a violation of each kind: it must be able to fail. */
import { spawnSync } from "node:child_process";
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
const script = join(root, "scripts/check-layers.mjs");

function check(directory: string): { status: number | null; lines: string[] } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, directory], { encoding: "utf8" });
  expect(stderr).toBe("");
  return { status, lines: stdout.trim().split("\n") };
}

it("finds no dependency that points the wrong way", () => {
  expect(check(root)).toEqual({ status: 0, lines: ["check-layers: 0 violations"] });
});

describe("on a copy", () => {
  const copy = mkdtempSync(join(tmpdir(), "lockstep-layers-"));
  beforeAll(() => {
    for (const folder of ["native", "src", "examples"])
      cpSync(join(root, folder), join(copy, folder), {
        recursive: true,
        filter: (path) => !path.includes("/model/model."),
      });
  });
  afterAll(() => rmSync(copy, { recursive: true }));

  const planted: [file: string, line: string, complaint: RegExp][] = [
    ["native/base/error.h", '#include "engine/engine.h"', /imports "engine\/engine\.h", allowed: base\/$/],
    ["native/ops/ops.h", '#include "model/model.h"', /imports "model\/model\.h"/],
    ["native/ops/ops.h", '  #  include "ops/cpu/cpu_ops.h"', /imports "ops\/cpu\/cpu_ops\.h"/],
    ["native/ops/cpu/thread_pool.cpp", '#include "cache/block_pool.h"', /imports "cache\/block_pool\.h"/],
    ["native/checkpoint/weights.h", '#include "ops/ops.h"', /imports "ops\/ops\.h"/],
    ["native/comm/comm.h", '#include "checkpoint/weights.h"', /imports "checkpoint\/weights\.h"/],
    ["native/cache/block_pool.h", '#include "engine/request.h"', /imports "engine\/request\.h"/],
    ["native/model/model.cpp", '#include "engine/scheduler.h"', /imports "engine\/scheduler\.h"/],
    ["native/model/model.cpp", '#include "ops/cpu/cpu_ops.h"', /imports "ops\/cpu\/cpu_ops\.h"/],
    ["native/engine/engine.h", '#include "binding/convert.h"', /imports "binding\/convert\.h"/],
    ["native/engine/scheduler.h", '#include "testing/testing.h"', /imports "testing\/testing\.h"/],
    ["native/binding/surface.cpp", '#include "model/model.h"', /imports "model\/model\.h"/],
    ["native/engine/engine.cpp", "#include <napi.h>", /imports <napi\.h>/],
    ["native/engine/engine.cpp", "#include <uv.h>", /imports <uv\.h>/],
    ["native/engine/rank.h", "#include <cuda_runtime.h>", /imports <cuda_runtime\.h>/],
    ["native/model/model.h", "#include <immintrin.h>", /imports <immintrin\.h>/],
    ["native/ops/cpu/kernels/linear.h", "#include <algorithm>", /imports <algorithm>/],
    ["native/ops/cpu/kernels/linear.h", '#include "base/error.h"', /imports "base\/error\.h"/],
    ["native/metal/shader.h", "", /native\/metal\/shader\.h:1 is in no layer/],
    [
      "src/errors.ts",
      'import { native } from "./native.js";',
      /imports \.\/native\.js, allowed: errors\.ts$/,
    ],
    ["src/check.ts", 'import type { Engine } from "./engine.js";', /imports \.\/engine\.js/],
    ["src/tokenizer/bpe.ts", 'import { native } from "../native.js";', /imports \.\.\/native\.js/],
    ["src/checkpoint/files.ts", 'export { Engine } from "../engine.js";', /imports \.\.\/engine\.js/],
    ["src/chat/template.ts", 'import "../tokenizer/tokenizer.js";', /imports \.\.\/tokenizer\/tokenizer\.js/],
    ["src/native.ts", 'const stream = await import("./stream.js");', /imports \.\/stream\.js/],
    ["src/stream.ts", 'import { Engine } from "./engine.js";', /imports \.\/engine\.js/],
    ["src/engine.ts", 'import { run } from "./cli/terminal.js";', /imports \.\/cli\/terminal\.js/],
    ["src/engine.ts", 'import { Command } from "commander";', /imports commander/],
    ["src/prompt.ts", 'import { Template } from "@huggingface/jinja";', /imports @huggingface\/jinja/],
    ["src/host.ts", 'import { createRequire } from "node:module";', /imports node:module/],
    ["src/cli/generate.ts", 'import { Engine } from "../engine.js";', /imports \.\.\/engine\.js/],
    ["src/eval/run.ts", 'import { native } from "../native.js";', /imports \.\.\/native\.js/],
    ["src/server/serve.ts", 'import { checkSampling } from "../options.js";', /imports \.\.\/options\.js/],
    ["src/surprise.ts", "", /src\/surprise\.ts:1 is in no layer/],
    [
      "examples/demo/episode.mjs",
      'import { Engine } from "../../dist/index.js";',
      /imports \.\.\/\.\.\/dist\/index\.js/,
    ],
    ["examples/demo/golden.mjs", 'import express from "express";', /imports express/],
  ];

  it("finds each planted violation, in its line, and nothing else", () => {
    const added = new Map<string, string>();
    for (const [file, line] of planted) added.set(file, `${added.get(file) ?? ""}\n${line}`);
    for (const [file, lines] of added) {
      mkdirSync(dirname(join(copy, file)), { recursive: true });
      appendFileSync(join(copy, file), lines);
    }
    const { status, lines } = check(copy);
    expect(status).toBe(1);
    for (const [file, line, complaint] of planted) {
      const match = lines.find((one) => one.startsWith(`${file}:`) && complaint.test(one));
      expect(match, `${file}: ${line}`).toBeDefined();
    }
    expect(lines).toHaveLength(planted.length + 1);
    expect(lines.at(-1)).toBe(`check-layers: ${planted.length} violations`);
  });

  it("lets a comment speak of what is not allowed", () => {
    const clean = mkdtempSync(join(copy, "clean-"));
    mkdirSync(join(clean, "src"));
    writeFileSync(
      join(clean, "src/errors.ts"),
      '/**\n * Never: import x from "./engine.js".\n */\n// import "y"\n',
    );
    expect(check(clean).status).toBe(0);
  });
});
