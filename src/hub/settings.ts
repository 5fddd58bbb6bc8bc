/**
 * Where the Hub and its cache are: the environment variables that Hugging Face's own tools read, with their meaning.
 * Any thread; pure but for reading the environment, at each load. Must not put a token into a message.
 */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { LockstepError } from "../errors.js";

export interface HubSettings {
  /** Without a slash at its end. */
  endpoint: string;
  cacheDirectory: string;
  token: string | undefined;
  offline: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

export function hubSettings(env: Environment = process.env): HubSettings {
  return {
    endpoint: endpoint(env.HF_ENDPOINT || "https://huggingface.co"),
    cacheDirectory: cacheDirectory(env),
    token: token(env.HF_TOKEN?.trim() || undefined),
    offline: ["1", "true", "yes", "on"].includes((env.HF_HUB_OFFLINE ?? "").toLowerCase()),
  };
}

/** Written out rather than asked of the library: cached models need not load it, and it leaves "~" as it is. */
function cacheDirectory(env: Environment): string {
  const given = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE;
  if (given) return path(given);
  if (env.HF_HOME) return join(path(env.HF_HOME), "hub");
  return join(path(env.XDG_CACHE_HOME || "~/.cache"), "huggingface", "hub");
}

function path(given: string): string {
  return resolve(given.replace(/^~(?=\/|$)/, homedir()));
}

function endpoint(given: string): string {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (url?.protocol !== "https:" && url?.protocol !== "http:")
    throw new LockstepError(
      "HUB_ERROR",
      `Expected an address beginning with https:// or http:// in HF_ENDPOINT but received '${given}'`,
    );
  return given.replace(/\/+$/, "");
}

function token(given: string | undefined): string | undefined {
  if (given === undefined || /^[\x21-\x7e]+$/.test(given)) return given;
  // fetch would refuse it too, and quote it.
  throw new LockstepError(
    "HUB_ERROR",
    "Expected HF_TOKEN to be an access token but it has spaces or other signs in it that no token has (its value is not shown here)",
  );
}
