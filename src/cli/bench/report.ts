/**
 * Owns what `lockstep bench` prints: tables for people, JSON lines for machines. Pure.
 */
import type { DoctorReport, Floors, KernelProfile, Profile } from "../../index.js";
import { type Cost, decodeStepCost, type Floor, floorOf, type Shape } from "./roofline.js";

/** What was asked for. */
export interface Task {
  kind: "prefill" | "decode";
  sequences: number;
  promptTokens: number;
  newTokens: number;
  /** The least that one prompt, or one decode step, costs; and the tokens that it gets done. */
  cost: Cost;
  costTokens: number;
}

export interface Figure {
  tokensPerSecond: number; // median of the rounds
  min: number;
  max: number;
  sha256: string;
}

/** What a figure is held against. */
export interface Ceiling {
  floors: Floors;
  limit: Floor["limit"];
  tokensPerSecond: number;
}

/** The kernels of a task's steps, and what a step takes: on a GPU, one that is not profiled. */
export interface Steps {
  profile: Profile;
  stepSeconds: number;
  floors: Floors;
}

export interface Report {
  head(floors: Floors): string;
  figure(task: Task, figure: Figure, ceiling: Ceiling): string;
  profile(task: Task, steps: Steps): string;
}

export const nameOf = ({ kind, sequences, promptTokens }: Task) =>
  kind === "prefill"
    ? `prefill, ${promptTokens} tokens`
    : `decode, batch ${sequences} at ${promptTokens} tokens`;

const percent = (value: number, of: number) => ((100 * value) / of).toFixed(1);
const row = (name: string, ...cells: string[]) =>
  `${name.padEnd(30)}${cells.map((cell) => cell.padStart(10)).join("")}\n`;

/** What the calls of a kernel reach, and which ceiling is nearer. */
function reached({ seconds, bytes, flops }: KernelProfile, floors: Floors) {
  const [bytesPerSecond, flopsPerSecond] = seconds > 0 ? [bytes / seconds, flops / seconds] : [0, 0];
  return {
    bytesPerSecond,
    flopsPerSecond,
    percentOfRead: Number(percent(bytesPerSecond, floors.readBytesPerSecond)),
    percentOfFlops: Number(percent(flopsPerSecond, floors.flopsPerSecond)),
    limit: bytes + flops > 0 ? floorOf({ bytes, flops }, floors).limit : "none",
  };
}

/** Of a step: what no kernel accounts for. Below 0 where kernels overlap while they are not profiled. */
const restOf = ({ profile: { steps, kernels }, stepSeconds }: Steps) =>
  stepSeconds - kernels.reduce((sum, { seconds }) => sum + seconds, 0) / steps;

export const tableReport = (shape: Shape): Report => ({
  head({ computePath, threads, copyBytesPerSecond }) {
    const { bytes } = decodeStepCost(shape, 1, 0);
    const on = threads > 0 ? `threads: ${threads}` : `copies: ${(copyBytesPerSecond! / 1e9).toFixed(1)} GB/s`;
    return [
      `${computePath}, ${on}, weights read for a token: ${(bytes / 1e6).toFixed(1)} MB\n`,
      row("work", "tok/s", "min", "max", "floor", "%", "limit", "GB/s", "GFLOP/s"),
    ].join("\n");
  },

  figure(task, { tokensPerSecond, min, max }, ceiling) {
    const { readBytesPerSecond, flopsPerSecond } = ceiling.floors;
    const rates = [tokensPerSecond, min, max, ceiling.tokensPerSecond].map((rate) => rate.toFixed(1));
    const limits = [readBytesPerSecond / 1e9, flopsPerSecond / 1e9].map((rate) => rate.toFixed(1));
    const share = percent(tokensPerSecond, ceiling.tokensPerSecond);
    return row(nameOf(task), ...rates, share, ceiling.limit, ...limits);
  },

  profile(task, steps) {
    const { profile, stepSeconds, floors } = steps;
    const micros = (seconds: number) => (seconds * 1e6).toFixed(1);
    const lines = profile.kernels.map((kernel) => {
      const perStep = kernel.seconds / profile.steps;
      const { bytesPerSecond, flopsPerSecond, percentOfRead, percentOfFlops, limit } = reached(
        kernel,
        floors,
      );
      return row(
        kernel.name,
        (kernel.calls / profile.steps).toFixed(1),
        micros(perStep),
        percent(perStep, stepSeconds),
        (bytesPerSecond / 1e9).toFixed(1),
        percentOfRead.toFixed(1),
        (flopsPerSecond / 1e9).toFixed(1),
        percentOfFlops.toFixed(1),
        limit,
      );
    });
    const rest = restOf(steps);
    return [
      `\n${nameOf(task)}: a step of ${micros(stepSeconds)} us\n`,
      row("kernel", "calls", "us", "% of step", "GB/s", "%", "GFLOP/s", "%", "limit"),
      ...lines,
      row("the rest", "", micros(rest), percent(rest, stepSeconds)),
    ].join("");
  },
});

/** Each line stands alone: what was measured, on what, with what. */
export function jsonReport(
  model: object,
  settings: object,
  { cpu, platform, physicalCores, node, cuda }: DoctorReport,
  lockstep: string,
): Report {
  const line = (
    { kind, sequences, promptTokens, newTokens }: Task,
    measured: object,
    { device, computePath, threads, ...floors }: Floors,
  ): string => {
    const gpu = device === "cpu" ? undefined : cuda.devices[Number(device.slice(5))]!.name;
    const json = {
      ...{ kind, sequences, promptTokens, newTokens },
      ...measured,
      date: new Date().toISOString(),
      machine: { cpu, platform, physicalCores, gpu },
      versions: { lockstep, node },
      ...{ device, computePath, threads, settings, floors, model },
    };
    return `${JSON.stringify(json)}\n`;
  };
  return {
    head: () => "",
    figure(task, { tokensPerSecond: median, min, max, sha256 }, { floors, limit, tokensPerSecond }) {
      const floor = {
        tokensPerSecond,
        percent: Number(percent(median, tokensPerSecond)),
        limit,
        ...task.cost,
      };
      return line(task, { tokensPerSecond: { median, min, max }, floor, sha256 }, floors);
    },
    profile(task, steps) {
      const kernels = steps.profile.kernels.map((kernel) => ({
        ...kernel,
        ...reached(kernel, steps.floors),
      }));
      const { stepSeconds } = steps;
      const profile = { steps: steps.profile.steps, stepSeconds, restSeconds: restOf(steps), kernels };
      return line(task, { profile }, steps.floors);
    },
  };
}
