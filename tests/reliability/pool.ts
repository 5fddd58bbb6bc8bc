/** Pool sizes for sets of requests. No import of the package: files that choose the addon use it, too. */
import type { Case } from "./pressure-suite.js";

/** kvCacheTokens with room for the longest case and `spare` blocks. */
export function poolFor(cases: Case[], spare: number): number {
  const longest = Math.max(
    ...cases.map(({ tokens, sampling }) => tokens.length + (sampling?.maxTokens ?? 0)),
  );
  return 16 * (Math.ceil(longest / 16) + spare);
}
