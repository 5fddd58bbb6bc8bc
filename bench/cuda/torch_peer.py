"""torch on the shapes that kernels.cu measures, on the same GPU: one JSON object a line.

python3 bench/cuda/torch_peer.py   (needs torch with CUDA; weights rotate among more than four times the L2 cache)
"""

import json

import torch
from torch.nn.functional import linear, scaled_dot_product_attention

SHAPES = {"0.6B": (1024, 3072, 16, 8), "1.7B": (2048, 6144, 16, 8), "4B": (2560, 9728, 32, 8), "8B": (4096, 12288, 32, 8)}
HEAD_DIM = 128


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def seconds(run, calls):
    """Of one call: the median of five rounds, after three calls that warm up."""
    for _ in range(3):
        run()
    rounds = []
    for _ in range(5):
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        for _ in range(calls):
            run()
        end.record()
        torch.cuda.synchronize()
        rounds.append(begin.elapsed_time(end) / calls / 1e3)
    return sorted(rounds)[2]


def report(kernel, shape, tokens, s, moved, flops):
    figures = {"us": round(s * 1e6, 2), "GBps": round(moved / s / 1e9, 1), "TFLOPps": round(flops / s / 1e12, 2)}
    print(json.dumps({"torch": kernel, "shape": shape, "tokens": tokens, **figures}), flush=True)


def main():
    print(json.dumps({"torchVersion": torch.__version__, "device": torch.cuda.get_device_name()}))
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    s = seconds(lambda: target.copy_(source), 10)
    report("copy", "1 GiB", 0, s, 2 * source.numel(), 0)
    square = random(8192, 8192)
    report("matmul", "8192", 8192, seconds(lambda: square @ square, 5), 0, 2 * 8192**3)
    for model, (hidden, mlp, heads, kv_heads) in SHAPES.items():
        q = heads * HEAD_DIM
        layers = {"qkv": (q + 2 * kv_heads * HEAD_DIM, hidden), "o": (hidden, q), "gate_up": (2 * mlp, hidden), "down": (hidden, mlp)}
        for name, (n, k) in layers.items():
            weights = [random(n, k) for _ in range(int(3e8 // (2 * n * k)) + 2)]
            for tokens in (1, 8, 16, 32, 64, 128, 256, 512, 2048):
                x = random(tokens, k)
                turn = iter(range(1 << 30))
                s = seconds(lambda: linear(x, weights[next(turn) % len(weights)]), 40 if tokens <= 64 else 10)
                report(name, model, tokens, s, 2 * n * k, 2 * n * k * tokens)
        for length in (512, 2048, 8192):
            query = random(1, heads, length, HEAD_DIM)
            key, value = random(1, kv_heads, length, HEAD_DIM), random(1, kv_heads, length, HEAD_DIM)
            s = seconds(lambda: scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True), 5)
            report("attention_prefill", model, length, s, 0, 2 * length * length * HEAD_DIM * heads)


main()
