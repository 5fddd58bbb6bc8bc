/** One case of the malformed-checkpoint corpus. Test support, types and one constructor. */
import type { Files } from "./tiny.js";

export interface BadCase {
  name: string;
  files: Files;
  code: "INVALID_CHECKPOINT" | "MODEL_NOT_FOUND";
  /** Each must match the message: the file, the tensor or key, the reason. */
  message: RegExp[];
}

export function badCase(name: string, files: Files, ...message: RegExp[]): BadCase {
  return { name, files, code: "INVALID_CHECKPOINT", message };
}

/** The message begins with the path; this matches its last part. */
export const inFile = (file: string) => new RegExp(`/${file.replaceAll(".", "\\.")}: `);
