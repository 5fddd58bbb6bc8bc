/**
 * Owns keeping Unicode normalisation linear. Any thread, no state.
 *
 * NFC sorts a run of combining marks by their combining class, and V8's (ICU's) does it by insertion: 80,000 alternating
 * marks took 1.3 s, and four times that for twice as many (2 cores, Node 20, 2026-11). Sorting long runs beforehand
 * leaves ICU nothing to do. Must not change what text.normalize("NFC") gives.
 */

/** Runs below this cost ICU microseconds; real text (Vietnamese, Hebrew, Zalgo jokes) stays far below. */
const LONG_RUN = /\p{M}{128,}/gu;

const LOWEST = "\u0334"; // combining class 1
const HIGHEST = "\u0345"; // combining class 240, the highest there is

/** `text` with each long run of combining marks in canonical order. */
export function orderLongMarkRuns(text: string): string {
  return text.replace(LONG_RUN, order);
}

function order(run: string): string {
  const marks: string[] = [];
  // Mark by mark: normalising the run as a whole is what takes so long.
  for (const mark of run) marks.push(...mark.normalize("NFD"));
  const rank = rankByClass(new Set(marks));
  const ordered: string[] = [];
  for (let start = 0; start < marks.length; ) {
    // A mark of class 0 stays where it is, and nothing moves across it.
    let end = start;
    while (end < marks.length && rank.has(marks[end]!)) ++end;
    const sorted = marks.slice(start, end).sort((a, b) => rank.get(a)! - rank.get(b)!); // stable
    for (const mark of sorted) ordered.push(mark);
    if (end < marks.length) ordered.push(marks[end]!);
    start = end + 1;
  }
  return ordered.join("");
}

/** The combining classes of the marks that have one, as ranks: JavaScript does not give the numbers themselves. */
function rankByClass(marks: ReadonlySet<string>): Map<string, number> {
  const movable = [...marks].filter((mark) => swaps(mark, LOWEST) || swaps(HIGHEST, mark));
  movable.sort((a, b) => (swaps(a, b) ? 1 : swaps(b, a) ? -1 : 0));
  const ranks = new Map<string, number>();
  let rank = 0;
  movable.forEach((mark, i) => {
    if (i > 0 && swaps(mark, movable[i - 1]!)) ++rank;
    ranks.set(mark, rank);
  });
  return ranks;
}

/** Whether canonical order puts `b` before `a`: its class is lower, and neither is 0. */
function swaps(a: string, b: string): boolean {
  return (a + b).normalize("NFD") !== a + b;
}
