/**
 * Owns the file that a run of an evaluation grows: JSON lines. The first says the run's settings, and so does one at the
 * beginning of each later session; every other is a finished attempt with its transcript. Main thread.
 *
 * A run may be ended anywhere and begun again, and no finished attempt is lost or there twice (src/line-file.ts says how).
 * Must not mix settings unless it is told to, and then says so.
 */
import {
  differences,
  LineFile,
  linesOf,
  notOurs,
  otherSettings,
  parsedLine,
  type Settings,
} from "../line-file.js";

/** An attempt as the report has it: the original's fields, then ours. */
export interface ReportedAttempt {
  success: boolean;
  reward: number;
  partial_score: number;
  partial_components: Record<string, number>;
  steps: number;
  status: string;
  error: string | null;
  reward_info: unknown;
  prompt_tokens: number;
  completion_tokens: number;
  user_usage: Record<string, number>;
}

/** A line of the journal, without the transcript's keys. */
export interface AttemptRecord {
  domain: string;
  task_id: string;
  sample: number;
  attempt: ReportedAttempt;
  /** What another run of the same attempt need not share. */
  run: { seconds: number; cached_tokens: number };
}

/** With them: `reset_followup`, `steps` and whatever the domain adds. */
export type JournalLine = AttemptRecord & Record<string, unknown>;

const kSettings = '{"settings":';

export class EvalJournal {
  /** Finished attempts of earlier sessions, by keyOf(). */
  readonly earlier: ReadonlyMap<string, AttemptRecord>;
  /** Sessions before this one. */
  readonly sessions: number;
  /** Where sessions had different settings: each difference, oldest first. */
  readonly mixed: readonly string[];
  readonly #file: LineFile;

  /**
   * Begins a file, or goes on with one that was made with the same settings; with other ones only where `resumeAnyway`.
   * Throws INVALID_ARGUMENT, with the settings that differ, and FILE_ERROR.
   */
  static async open(path: string, settings: Settings, resumeAnyway = false): Promise<EvalJournal> {
    const file = await LineFile.open(path);
    try {
      const { records, sessions, size } = await readLines(file);
      const now = JSON.parse(JSON.stringify(settings)) as Settings;
      const last = sessions.at(-1);
      const differing = last ? differences(last, now) : [];
      if (differing.length > 0 && !resumeAnyway)
        throw otherSettings(
          path,
          differing,
          "Give the same, or another file, or --resume-anyway to mix them",
        );
      await file.cutTo(size);
      await file.append(JSON.stringify({ settings: now }));
      await file.flush();
      return new EvalJournal(file, records, [...sessions, now]);
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
  }

  private constructor(file: LineFile, records: Map<string, AttemptRecord>, sessions: Settings[]) {
    this.#file = file;
    this.earlier = records;
    this.sessions = sessions.length - 1;
    this.mixed = sessions.slice(1).flatMap((now, i) => differences(sessions[i]!, now));
  }

  /** Resolves once the line is on disk. */
  async append(line: string): Promise<void> {
    await this.#file.append(line);
    await this.#file.flush();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

export const keyOf = ({
  domain,
  task_id,
  sample,
}: Pick<AttemptRecord, "domain" | "task_id" | "sample">): string => JSON.stringify([domain, task_id, sample]);

/** The journal of a run whose report goes to a file. */
export const journalOf = (report: string): string => `${report}.journal.jsonl`;

/** Without the transcript, which is most of it. */
export const recordOf = ({ domain, task_id, sample, attempt, run }: JournalLine): AttemptRecord => ({
  ...{ domain, task_id, sample, attempt, run },
});

/** The whole lines of a journal that nobody writes to: attempts with their transcripts, in the order they ended. */
export async function* readJournal(path: string): AsyncGenerator<JournalLine> {
  for await (const line of linesOf(path)) {
    const record = parsedLine(line);
    if (isRecord(record)) yield record;
  }
}

// ---- the file as it was left ----

interface Left {
  records: Map<string, AttemptRecord>;
  sessions: Settings[];
  size: number; // of its whole lines
}

/** A last line that is torn does not count; one that is no journal's is refused before anything is cut. */
async function readLines(file: LineFile): Promise<Left> {
  const left: Left = { records: new Map(), sessions: [], size: 0 };
  let torn = false;
  let number = 0;
  for await (const line of file.lines()) {
    if (torn) throw notOurs(file.path, number, "is no attempt");
    ++number;
    torn = !take(left, parsedLine(line), file.path, number);
    if (number === 1 && (torn || left.sessions.length === 0)) throw notOurs(file.path, 1, "has no settings");
    if (!torn) left.size += line.length;
  }
  if (number === 0 && file.size > 0) await checkTornBeginning(file);
  return left;
}

/** Takes a line in; false where it is none of ours. */
function take({ records, sessions }: Left, line: unknown, path: string, number: number): boolean {
  const { settings } = (line ?? {}) as { settings?: Settings };
  if (typeof settings === "object" && settings !== null) {
    sessions.push(settings);
    return true;
  }
  if (!isRecord(line)) return false;
  const key = keyOf(line);
  if (records.has(key)) throw notOurs(path, number, `is of an attempt that is there already (${key})`);
  records.set(key, recordOf(line));
  return true;
}

function isRecord(line: unknown): line is JournalLine {
  const { domain, task_id, sample, attempt } = (line ?? {}) as Partial<JournalLine>;
  return (
    typeof domain === "string" &&
    typeof task_id === "string" &&
    Number.isInteger(sample) &&
    typeof attempt?.success === "boolean"
  );
}

/** A file without a whole line is ours only where a kill tore the first one. */
async function checkTornBeginning(file: LineFile): Promise<void> {
  const head = await file.beginning(kSettings.length);
  if (!kSettings.startsWith(head)) throw notOurs(file.path, 1, "has no settings");
}
