/** What an engine that was loaded with `profile: true` says of its kernels. Types only. */

/** What the steps since load were made of; see Engine.profile. */
export interface Profile {
  steps: number;
  /** What they took, the engine's own work included and waiting for requests left out. */
  seconds: number;
  kernels: KernelProfile[];
}

/** Sums over the calls of a kernel (on a GPU) or of a verb (on the CPU: `native/ops/ops.h`). */
export interface KernelProfile {
  /** Where it has weights, with their shape: "linear 1024x3072". */
  name: string;
  calls: number;
  seconds: number;
  /** What the calls cannot do without: bytes between memory and processor. */
  bytes: number;
  /** Floating-point operations; a multiply-add counts as 2. */
  flops: number;
}
