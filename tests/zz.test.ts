import { test, expect } from "vitest";
import { readFileSync } from "node:fs";
import { Tau2Data } from "../src/eval/tau2/data.js";
import { replay } from "../src/eval/tau2/replay.js";
test("x", async () => {
  const data = new Tau2Data("/work/shared/tau2");
  for (const f of ["episodes_train_gold","episodes_train_perturbed","vec_tool_errors","vec_random_train"]) {
    const text = readFileSync(`/work/shared/tau2/golden/${f}.jsonl`,"utf8").split("\n").filter(l => l.includes('"domain": "'+(process.env.D ?? "airline")+'"')).join("\n")+"\n";
    const t = performance.now();
    const r = await replay(text, data);
    console.log(f, r.records, r.steps, r.mismatches.length, Math.round(performance.now()-t)+" ms");
    for (const m of r.mismatches.slice(0,12)) console.log(m.line, m.field, "\n  E", m.expected.slice(0,600), "\n  F", m.found.slice(0,600));
  }
}, 100000);
