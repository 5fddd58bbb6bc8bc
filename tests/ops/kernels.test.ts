/** The functions that replace libm: float32 exp of the kernels, double exp, log, sin and cos of base/math, Philox. */
import { describe, expect, it } from "vitest";
import { native, paths, random } from "./native.js";

const bitsOf = new DataView(new ArrayBuffer(8));
function ulp(x: number): number {
  bitsOf.setFloat64(0, Math.abs(x));
  bitsOf.setBigUint64(0, bitsOf.getBigUint64(0) + 1n);
  return bitsOf.getFloat64(0) - Math.abs(x);
}

describe.each(paths)("%s exp", (path) => {
  it("is within 2 ulp of float32 over its range", () => {
    const x = Float32Array.from({ length: 400_003 }, (_, i) => -87.3 + (i / 400_002) * 176);
    const y = native.kernelExp(path, x);
    let worst = 0;
    x.forEach((v, i) => {
      const exact = Math.exp(v);
      const unit = 2 ** (Math.floor(Math.log2(exact)) - 23);
      worst = Math.max(worst, Math.abs(y[i]! - exact) / unit);
    });
    expect(worst).toBeLessThan(2);
  });

  it("is exact at 0, clean at the ends, and keeps NaN, in bodies and tails alike", () => {
    const x = [0, -0, -Infinity, -1e30, -88, -103.9, 89, Infinity, Number.NaN];
    const y = [1, 1, 0, 0, 0, 0, Infinity, Infinity, Number.NaN];
    expect([...native.kernelExp(path, Float32Array.from(x))]).toEqual(y);
    expect([...native.kernelExp(path, Float32Array.from([...x, ...x, ...x]))]).toEqual([...y, ...y, ...y]);
  });

  it("gives a value the same bits wherever it stands", () => {
    const next = random(4);
    const x = Float32Array.from({ length: 40 }, () => next() * 100 - 80);
    const together = native.kernelExp(path, x);
    x.forEach((v, i) => {
      expect(native.kernelExp(path, Float32Array.of(v))[0]).toBe(together[i]);
    });
  });
});

describe("base/math against Math, itself within 1 ulp", () => {
  const next = random(9);
  const sample = (f: () => number) => Float64Array.from({ length: 100_000 }, f);

  it.each([
    { name: "exp", f: Math.exp, x: sample(() => next() * 1400 - 700) },
    { name: "log", f: Math.log, x: sample(() => 2 ** (next() * 2000 - 1000)) },
    { name: "log", f: Math.log, x: sample(() => 1 + (next() - 0.5) * 2 ** -(next() * 50)) },
    { name: "log", f: Math.log, x: sample(() => (Math.floor(next() * 2 ** 32) + 0.5) / 2 ** 32) },
  ] as const)("$name: 3 ulp", ({ name, f, x }) => {
    const y = native.math(name, x);
    let worst = 0;
    x.forEach((v, i) => {
      worst = Math.max(worst, Math.abs(y[i]! - f(v)) / ulp(f(v)));
    });
    expect(worst).toBeLessThanOrEqual(3);
  });

  it.each([
    { name: "sin", f: Math.sin },
    { name: "cos", f: Math.cos },
  ] as const)("$name: 2^-52 for |x| <= 1e6", ({ name, f }) => {
    const x = sample(() => (next() * 2 - 1) * 10 ** (next() * 8 - 2));
    const y = native.math(name, x);
    let worst = 0;
    x.forEach((v, i) => {
      worst = Math.max(worst, Math.abs(y[i]! - f(v)));
    });
    expect(worst).toBeLessThanOrEqual(2 ** -52);
  });

  it("takes the special values", () => {
    const x = Float64Array.of(0, -Infinity, Infinity, Number.NaN, -746, 711, -745);
    expect([...native.math("exp", x)]).toEqual([1, 0, Infinity, Number.NaN, 0, Infinity, 5e-324]);
    const y = Float64Array.of(1, 0, Infinity, Number.NaN, -1, 5e-324);
    expect([...native.math("log", y)]).toEqual([
      0,
      -Infinity,
      Infinity,
      Number.NaN,
      Number.NaN,
      Math.log(5e-324),
    ]);
    expect([...native.math("sin", Float64Array.of(0, Infinity))]).toEqual([0, Number.NaN]);
  });
});

it("philox4x32-10 gives Random123's known answers", () => {
  const answer = (counter: number[], key: number[]) =>
    [...native.philox(Uint32Array.from(counter), Uint32Array.from(key))].map((word) => word.toString(16));
  const ones = 0xffffffff;
  expect(answer([0, 0, 0, 0], [0, 0])).toEqual(["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]);
  expect(answer([ones, ones, ones, ones], [ones, ones])).toEqual([
    "408f276d",
    "41c83b0e",
    "a20bc7c6",
    "6d5451fd",
  ]);
  expect(answer([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
    "d16cfe09",
    "94fdcceb",
    "5001e420",
    "24126ea1",
  ]);
});
