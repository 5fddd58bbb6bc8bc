/**
 * Which devices an engine runs on: the `device` and `tensorParallel` options against what CUDA offers here. Pure.
 */
import { type Check, itemsOf, oneOf } from "./check.js";
import { invalid, LockstepError, show } from "./errors.js";
import type { NativeCudaStatus } from "./native.js";

export type DeviceOption = "auto" | "cpu" | "cuda" | `cuda:${number}` | readonly `cuda:${number}`[];

const kNamed = /^cuda:(0|[1-9]\d{0,3})$/;
const kForms = "'auto', 'cpu', 'cuda', 'cuda:0' or an array of such names, one a rank";

export const deviceOption: Check<DeviceOption> = (value, where) => {
  const isName = (one: unknown): one is `cuda:${number}` => typeof one === "string" && kNamed.test(one);
  if (isName(value)) return value;
  if (!Array.isArray(value)) {
    if (typeof value !== "string") throw invalid(kForms, where, value);
    return oneOf("auto", "cpu", "cuda")(value, where);
  }
  const names = itemsOf(value, where, 1024, "devices");
  if (names.length === 0) throw invalid(kForms, where, value);
  names.forEach((name, i) => {
    if (!isName(name)) throw invalid("'cuda:0', 'cuda:1', ...", `${where}[${i}]`, name);
  });
  return names as `cuda:${number}`[];
};

export interface Placement {
  /** R. */
  ranks: number;
  /** CUDA's number of each rank's device; empty on the CPU. */
  devices: number[];
}

/** `status` is asked only where CUDA may be meant. Without tensorParallel an array of devices says how many ranks. */
export function placeRanks(
  device: DeviceOption = "auto",
  tensorParallel: number | undefined,
  status: () => NativeCudaStatus,
): Placement {
  const ranks = tensorParallel ?? (Array.isArray(device) ? device.length : 1);
  if (device === "cpu") return { ranks, devices: [] };
  const cuda = status();
  const fits = cuda.usable && cuda.devices.length >= ranks;
  if (device === "auto") return { ranks, devices: fits ? first(ranks) : [] };
  if (!cuda.usable)
    throw new LockstepError(
      "NOT_SUPPORTED",
      `Expected 'auto' or 'cpu' for device but received ${show(device)}: CUDA cannot be used here: ${cuda.reason}`,
    );
  const devices = device === "cuda" ? first(ranks) : [device].flat().map((name) => Number(name.slice(5)));
  if (devices.length !== ranks)
    throw invalid(`${ranks} devices, one a rank (tensorParallel),`, "device", device);
  const missing = devices.find((index) => index >= cuda.devices.length);
  if (missing !== undefined)
    throw new LockstepError(
      "NOT_SUPPORTED",
      `Expected devices that exist for device but received cuda:${missing}: this process sees ${cuda.devices.length} (CUDA_VISIBLE_DEVICES chooses them; ` +
        "ranks may share one: device: ['cuda:0', 'cuda:0'])",
    );
  return { ranks, devices };
}

const first = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
