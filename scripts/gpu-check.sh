#!/usr/bin/env bash
# Everything that needs a GPU, on the first one: the suites over cuda, the contract, compute-sanitizer, the bench.
#
#   scripts/gpu-check.sh [RESULTS]     default: bench/results/DATE-GPU; SECONDS_EACH=N shortens the time limits (600)
#
# Needs `npm ci` with nvcc (12.4 or later) on PATH. Peers are measured where python3 has torch. Goes on where a part
# fails; summary.txt has a line a part, and the exit status is 1 where one failed.
set -uo pipefail
cd "$(dirname "$0")/.."
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr ' ' '-') || exit 1
results=${1:-bench/results/$(date +%F)-$gpu}
mkdir -p "$results"
: >"$results/summary.txt"
limit=${SECONDS_EACH:-600}
failed=0

# part NAME COMMAND...: output to RESULTS/NAME.txt.
part() {
  local name=$1 from=$SECONDS status
  shift
  timeout "$limit" "$@" >"$results/$name.txt" 2>&1
  status=$?
  [ $status -eq 0 ] || failed=1
  echo "$name: $([ $status -eq 0 ] && echo ok || echo "FAILED ($status)"), $((SECONDS - from)) s" | tee -a "$results/summary.txt"
}
suites() { env NO_COLOR=1 "$@"; }
vitest() { suites node node_modules/vitest/vitest.mjs run --reporter=verbose "$@"; }
over_gpu() { LOCKSTEP_TEST_DEVICE=cuda:0 vitest "$@"; }
sanitize() { compute-sanitizer --tool "$1" --error-exitcode 9 node tests/cuda-on-cpu/children/generate.mjs examples/demo/model '{"device":"cuda:0"}'; }
export -f suites vitest over_gpu sanitize

kernels=.cache/cuda-bench/kernels
if [ ! -x $kernels ]; then
  mkdir -p "$(dirname $kernels)"
  objects=()
  for name in linear.cu attention.cu profiler.cu stream.cpp; do objects+=("native/ops/cuda/$name"); done
  flags=(-std=c++20 -O3 --fmad=false --expt-relaxed-constexpr -diag-suppress 554 -Inative)
  arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
  nvcc "${flags[@]}" -gencode=arch=compute_90a,code=sm_90a -c -o $kernels.sm90.o native/ops/cuda/linear_sm90.cu
  nvcc "${flags[@]}" -arch="sm_$arch" -cudart static -o $kernels bench/cuda/kernels.cu "${objects[@]}" $kernels.sm90.o
fi

nvidia-smi >"$results/nvidia-smi.txt"
part doctor node dist/cli/main.js doctor
part same-bits $kernels --check
part verbs bash -c 'over_gpu tests/ops/linear.test.ts tests/ops/attention.test.ts tests/ops/norm-rope.test.ts'
part verbs-contract bash -c 'over_gpu tests/ops/contract.test.ts tests/ops/sampling.test.ts'
part goldens bash -c 'over_gpu tests/model/goldens.test.ts'
part engine bash -c 'vitest tests/gpu/engine.test.ts'
part demo node examples/demo/demo.mjs
for size in 0.6B 4B; do part "checkpoint-$size" node bench/make-checkpoint.mjs $size; done
part kernels $kernels
if python3 -c 'import torch' 2>/dev/null; then part torch python3 bench/cuda/torch_peer.py; fi
for size in 0.6B 4B; do part "engine-$size" node bench/cuda/engine.mjs .cache/bench/qwen3-$size; done
for size in 0.6B 4B; do
  part "profile-$size" node dist/cli/main.js bench .cache/bench/qwen3-$size --device cuda:0 --profile \
    --prefill 512,2048 --decode 1,8,64 --context 1024 --tokens 64
done
for off in graphs ahead; do
  LOCKSTEP_CUDA_WITHOUT=$off part engine-0.6B-without-$off node bench/cuda/engine.mjs .cache/bench/qwen3-0.6B --decode 1,8,64 --prefill ''
done
part rollouts-0.6B node bench/rollouts.mjs .cache/bench/qwen3-0.6B --device cuda:0 --groups 32
part load-0.6B node bench/cuda/engine.mjs .cache/bench/qwen3-0.6B --load 256
if command -v compute-sanitizer >/dev/null; then
  part memcheck bash -c 'sanitize memcheck'
  part racecheck bash -c 'sanitize racecheck'
fi
cat "$results/summary.txt"
exit $failed
