/**
 * What this machine, or the container around this process, gives us: cores and memory. Synchronous reads of a few
 * small files under /proc and /sys; where they are absent (other platforms), os has the answer.
 */
import { readFileSync } from "node:fs";
import { availableParallelism, freemem, totalmem } from "node:os";

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** CPUs this process may run on, e.g. "0-3,8". */
function allowedCpus(): number[] {
  const list = read("/proc/self/status")?.match(/^Cpus_allowed_list:\s*(\S+)$/m)?.[1];
  if (list === undefined) return Array.from({ length: availableParallelism() }, (_, cpu) => cpu);
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** The container's CPU quota in cores (cgroup v2, then v1), if there is one. */
function cpuQuota(): number | undefined {
  const [quota, period] = (read("/sys/fs/cgroup/cpu.max") ?? "").split(" ").map(Number);
  if (quota && period) return quota / period;
  const v1Quota = Number(read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"));
  const v1Period = Number(read("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  return v1Quota > 0 && v1Period > 0 ? v1Quota / v1Period : undefined;
}

/** Physical cores among the CPUs this process may use: hyperthreads of one core count once. */
export function physicalCores(): number {
  const cores = allowedCpus().map(
    (cpu) => read(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`) ?? String(cpu),
  );
  return Math.max(1, new Set(cores).size);
}

/** The default of `threads`: physical cores, no more than the container's quota. */
export function defaultThreads(): number {
  return Math.max(1, Math.min(physicalCores(), Math.floor(cpuQuota() ?? Number.POSITIVE_INFINITY)));
}

/** The container's memory limit in bytes (cgroup v2, then v1); Infinity where there is none. */
function memoryLimitBytes(): number {
  const limit = Number(
    read("/sys/fs/cgroup/memory.max") ?? read("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
  );
  return limit > 0 ? limit : Number.POSITIVE_INFINITY; // "max" is not a number
}

/** Memory there is, in bytes: the machine's, or the container's where that is less. */
export function totalMemoryBytes(): number {
  return Math.min(totalmem(), memoryLimitBytes());
}

/** Memory that can be had without swapping, in bytes: the machine's, or what the container's limit leaves. */
export function availableMemoryBytes(): number {
  const kilobytes = Number(read("/proc/meminfo")?.match(/^MemAvailable:\s*(\d+) kB$/m)?.[1]);
  const machine = kilobytes > 0 ? kilobytes * 1024 : freemem();
  const used = usedOfLimitBytes();
  return used >= 0 ? Math.max(0, Math.min(machine, memoryLimitBytes() - used)) : machine;
}

/** What counts against the container's limit, less the file pages that are given up first: weights in the page cache, say. */
function usedOfLimitBytes(): number {
  const current =
    read("/sys/fs/cgroup/memory.current") ?? read("/sys/fs/cgroup/memory/memory.usage_in_bytes");
  const stat = read("/sys/fs/cgroup/memory.stat") ?? read("/sys/fs/cgroup/memory/memory.stat");
  return Number(current) - Number(stat?.match(/^(?:total_)?inactive_file (\d+)$/m)?.[1] ?? 0);
}
