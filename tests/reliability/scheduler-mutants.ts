/**
 * Faults for the scheduler's model check: each changes a line or two of the real sources. A mutant that the check does
 * not notice shows a hole in the check. Each is compiled apart and linked with the check (some 40 s for all on 2 cores).
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const native = fileURLToPath(new URL("../../native/", import.meta.url));

const kSources = ["cache/prefix_cache", "cache/block_pool", "engine/scheduler", "engine/batch_builder"];

/** What is wrong, and [text in the sources, what takes its place]. Each text stands there exactly once. */
// biome-ignore format: one mutant a line
export const kMutants: [name: string, ...edits: [string, string][]][] = [
  ["a removed request keeps its blocks", ["std::erase(running_, request);\n  pool_.release(request->blocks);", "std::erase(running_, request);"]],
  ["a removed request keeps its place in the queue", ["std::erase(waiting_, request);", ""]],
  ["a preempted request loses its blocks for good", ["pool_.release(request->blocks);\n  request->num_computed", "request->blocks.clear();\n  request->num_computed"]],
  ["a recompute drops a token", ["request->num_remembered * kBlockTokens;\n  request->link", "request->num_remembered * kBlockTokens + (request->cached_tokens >= 0);\n  request->link"]],
  ["a preempted request loses its last token", ["waiting_.push_front(victim);", "waiting_.push_front(victim);\n  if (victim->output_length() > 0) victim->tokens.pop_back();"]],
  ["the oldest is preempted", ["Request* victim = running_.back();\n  running_.pop_back();", "Request* victim = running_.front();\n  running_.erase(running_.begin());"]],
  ["a preempted request queues up at the end", ["waiting_.push_front(victim);", "waiting_.push_back(victim);"]],
  ["a preemption is not counted", ["++preemptions_;", ""]],
  ["a preempted request is computed all the same", ["if (i < running_.size()) take(request);", "take(request);"]],
  ["shared without a reference", ["for (const int32_t block : known.blocks) pool_.share(block);", ""]],
  ["a hit on one block too many", ["request->blocks = std::move(known.blocks);", "request->blocks = std::move(known.blocks);\n  if (request->blocks.size() > 1) std::swap(request->blocks[0], request->blocks[1]);"]],
  ["what hangs behind a hit is remembered elsewhere", ["request->link = known.link;", "request->link = {.root = request->root, .parent = 0};"]],
  ["cached blocks are counted as available though they are to be shared", [" - pool_.cached_among(known.blocks)", ""]],
  ["one block more than there are", ["missing > pool_.available_count()) return false;", "missing > pool_.available_count() + 1) return false;"]],
  ["a prefix is computed while it is being computed", ["if (being_computed(request, known.blocks.size())) return {};", ""]],
  ["cached tokens are counted at each admission", ["if (request->cached_tokens < 0) {", "{"]],
  ["a partial hit counts as a full one", ["++(full ? full_hits_ : partial_hits_);", "++full_hits_;"]],
  ["hits are counted at each admission", ["    if (request->num_computed > 0) {", "  }\n  {\n    if (request->num_computed > 0) {"]],
  ["an eviction is not counted", ["++evictions_;", ""]],
  ["a block is remembered one token early", ["kBlockTokens <= end; ++request.num_remembered", "kBlockTokens <= std::min(end + 1, request.length()); ++request.num_remembered"]],
  ["a chunk is counted one token short", ["->num_computed += scheduled.num_tokens;", "->num_computed += scheduled.num_tokens - (scheduled.num_tokens > 8);"]],
  ["chunks larger than the step", ["std::min(request->pending_tokens(), budget_)", "request->pending_tokens()"]],
  ["a step without a limit", ["budget_ -= tokens;", ""]],
  ["one sequence too many", ["running_.size() >= most", "running_.size() > most"]],
  ["last come, first served", ["Request* request = waiting_.front();", "Request* request = waiting_.back();"], ["*waiting_.front();", "*waiting_.back();"], ["waiting_.pop_front();", "waiting_.pop_back();"]],
  ["the first prefill starves", ["for (size_t i = 0; i < running_.size() && budget_ > 0; ++i)\n    if (running_[i]->pending_tokens() > 1)", "for (size_t i = 1; i < running_.size() && budget_ > 0; ++i)\n    if (running_[i]->pending_tokens() > 1)"]],
  ["prefills are scheduled as decodes, too", ["if (request->pending_tokens() != 1) continue;", ""]],
  ["an evicted block can still be found", ["prefixes_.forget(block);", ""]],
  ["a block begins with two owners", ["blocks_[block].owners = 1;", "blocks_[block].owners = 2;"]],
  ["a shared block stays in the eviction list", ["if (blocks_[block].owners++ == 0) unowned_.erase(blocks_[block].unowned);", "blocks_[block].owners++;"]],
  ["the first owner's release frees a shared block", ["if (--state.owners > 0) continue;", "--state.owners;"]],
  ["a remembered block is freed as if it were not", ["if (prefixes_.holds(*block))", "if (false)"]],
  ["a released block is freed twice", ["free_.push_back(*block);", "free_.push_back(*block), free_.push_back(*block);"]],
  ["the last prompt token comes from the cache", ["begin + kBlockTokens <= most_tokens", "begin + kBlockTokens <= most_tokens + 1"]],
  ["a chain of hits is not followed", ["prefix.link = prefixes_.behind(block);", ""]],
  ["a hit whatever stands before it", ["entry.link.parent == link.parent && ", ""], ["mix(link.parent);", ""]],
  ["a hit across salts", [" && entry.link.root == link.root", ""], ["for (const uint64_t word : link.root) mix(word);", ""]],
  ["a hit on half of the tokens", ["for (const int32_t token : tokens) mix", "for (const int32_t token : tokens.first(8)) mix"], ["std::equal(tokens.begin(), tokens.end(),", "std::equal(tokens.begin(), tokens.begin() + 8,"]],
  ["an entry's number is used again", ["entry.number = ++last_number_;", "entry.number = block + 1;"]],
  ["a forgotten block still counts as remembered", ["entry.number = 0;\n}", "}"]],
  ["prompt tokens are scored again after a preemption", ["std::max(begin, request.next_scored() - 1)", "begin"]],
  ["a token is drawn before the last chunk", ["if (end < request.length() || request", "if (end + 1 < request.length() || request"]],
  ["a step ahead leaves somebody in the queue", ["if (admissible()) return {};", ""]],
  ["a step ahead goes beyond the end", ["request.output_length() + 1 < request", "request.output_length() < request"]],
  ["a step ahead preempts", ["if (missing > pool_.available_count()) return {};", ""]],
  ["a step ahead does not wait for a penalty's tokens", ["if (request->sampling.penalized()) return {};", ""]],
  ["a step ahead takes another row's token", ["unsampled(request->head_row)", "unsampled(0)"]],
  ["a step ahead drops a decode", ["if (goes_on(*request)) request->tokens", "if (goes_on(*request) && request != running_.back()) request->tokens"]],
  ["a block is remembered before its tokens are known", ["scheduled.begin + scheduled.num_tokens;", "request.num_computed;"]],
  ["new requests are not held", ["if (hold_new_ && !begun(request)) return {};", ""]],
  ["those preempted are held like new ones", ["if (hold_new_ && !begun(request))", "if (hold_new_)"]],
  ["a hold lets the next one in", ["if (hold_new_ && !begun(request))", "if (hold_new_ && !begun(request) && waiting_.size() > 1)"]],
  ["a preempted request counts as new", ["request->num_computed = 0;\n  request->num_remembered = 0;", "request->num_computed = 0;\n  request->cached_tokens = -1;"]],
  ["preempting all spares the oldest", ["while (!running_.empty()) preempt_newest();", "while (running_.size() > 1) preempt_newest();"]],
  ["preempting all turns the order round", ["while (!running_.empty()) preempt_newest();", "std::reverse(running_.begin(), running_.end());\n  while (!running_.empty()) preempt_newest();"]],
  ["a flush does nothing", ["while (!unowned_.empty()) free_.push_back(evict());", ""]],
  ["a flush drops one block", ["while (!unowned_.empty()) free_.push_back(evict());", "if (!unowned_.empty()) free_.push_back(evict());"]],
  ["a flush loses the blocks", ["while (!unowned_.empty()) free_.push_back(evict());", "while (!unowned_.empty()) evict();"]],
  ["flushed blocks can still be found", ["while (!unowned_.empty()) free_.push_back(evict());", "for (; !unowned_.empty(); unowned_.pop_front()) free_.push_back(unowned_.front());"]],
  ["a flush counts as evictions", ["free_.push_back(evict());", "free_.push_back(evict()), ++evictions_;"]],
  ["a hit on what other weights computed", [" && entry.link.root == link.root", " && entry.link.root[0] == link.root[0]"], ["for (const uint64_t word : link.root) mix(word);", "mix(link.root[0]);"]],
];

export const hasCompiler = (process.env.PATH ?? "")
  .split(":")
  .some((folder) => existsSync(join(folder, "g++")));

const compile = (...args: string[]) => run("g++", ["-std=c++20", "-w", `-I${native}`, ...args]);

/** Compiles the sources as they are as number 0, and all mutants from number 1 on; two at a time. */
export async function buildMutants(directory: string): Promise<void> {
  const precompiled = join(directory, "headers.h");
  writeFileSync(precompiled, kHeaders);
  writeFileSync(join(directory, "main.cpp"), kMain);
  const object = (name: string) => join(directory, `${name}.o`);
  await Promise.all([
    compile("-O1", "-c", join(native, "testing/scheduler_check.cpp"), "-o", object("check")),
    compile("-x", "c++-header", precompiled).then(() =>
      compile("-c", join(directory, "main.cpp"), "-o", object("main")),
    ),
  ]);
  const numbers = Array.from({ length: kMutants.length + 1 }, (_, i) => i);
  const builder = async () => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      writeMutant(join(directory, String(number)), number);
      const source = join(directory, String(number), "all.cpp");
      await compile("-include", precompiled, "-c", source, "-o", object(String(number)));
      await compile(
        object(String(number)),
        object("check"),
        object("main"),
        "-o",
        programOf(directory, number),
      );
    }
  };
  await Promise.all([builder(), builder()]);
}

const programOf = (directory: string, number: number) => join(directory, String(number), "check");

/** The four sources with the mutant's edits, and a file that includes them all. */
function writeMutant(directory: string, number: number): void {
  const [, ...edits] = number === 0 ? [""] : kMutants[number - 1]!;
  const texts = kSources.map((source) => readFileSync(join(native, `${source}.cpp`), "utf8"));
  for (const [from, to] of edits as [string, string][]) {
    const hit = texts.findIndex((text) => text.includes(from));
    if (texts.join("\n").split(from).length !== 2)
      throw new Error(`mutant ${number}: not exactly one of\n${from}`);
    texts[hit] = texts[hit]!.replace(from, () => to);
  }
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "all.cpp"), texts.join("\n"));
}

const kHeaders = `#include <algorithm>
#include <deque>
#include <list>
#include <string>
#include <unordered_map>
#include "engine/batch_builder.h"
`;

const kMain = `#include <cstdio>
#include <cstdlib>
#include "testing/scheduler_check.h"
int main(int, char** arguments) {
  for (int seed = 1; seed <= std::atoi(arguments[1]); ++seed) {
    const auto report = lockstep::testing::check_scheduler(static_cast<uint64_t>(seed), std::atoi(arguments[2]));
    if (report.violation.empty()) continue;
    std::printf("seed %d: %s\\n", seed, report.violation.c_str());
    return 1;
  }
  return 0;
}
`;

/** How the check notices a mutant: what it says, or the signal that it dies of. Empty: it does not. */
export async function notice(
  directory: string,
  mutant: number,
  seeds: number,
  steps: number,
): Promise<string> {
  return run(programOf(directory, mutant), [String(seeds), String(steps)], { timeout: 60_000 }).then(
    () => "",
    (error: { signal?: string; killed?: boolean; stdout?: string }) =>
      error.stdout || (error.killed ? "" : `dies by ${error.signal}`),
  );
}
