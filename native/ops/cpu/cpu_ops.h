// The CPU backend's front door: makes an Ops for a compute path and a number of threads.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "ops/ops.h"

namespace lockstep {

// Compute paths that this build has and this CPU can run, best first; "portable" is always last.
std::vector<std::string> available_cpu_paths();

// `path` empty: the best. Throws Error("NOT_SUPPORTED") naming the available paths where it is not one of
// them. threads >= 1 counts the calling thread.
std::unique_ptr<Ops> make_cpu_ops(const std::string& path, int threads);

// The distribution that Ops::sample draws from for this row (one-hot at temperature 0), by the same code on
// one thread. probabilities, logits [V]; logits are overwritten. NaN or infinite logits, or every token
// banned: all NaN.
void sampling_distribution(const std::string& path, std::span<double> probabilities, std::span<float> logits,
                           const SampleRow& row);

}  // namespace lockstep
