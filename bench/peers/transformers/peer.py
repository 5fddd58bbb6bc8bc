"""Hugging Face transformers on the CPU in BF16, eager: peer.py CHECKPOINT THREADS CONTEXT. See ../README.md."""

import json
import sys
import time

import torch
import transformers


def main() -> None:
    checkpoint, threads, _context = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
    say({"ready": True, "name": "transformers", "version": f"{transformers.__version__}, torch {torch.__version__}"})
    for line in sys.stdin:
        question = json.loads(line)
        say(answer(model, question["prompts"], question.get("tokens", 1)))


@torch.inference_mode()
def answer(model, prompts: list[list[int]], wanted: int) -> dict:
    """Prompts of one length, as one batch."""
    began = time.perf_counter()
    out = model(torch.tensor(prompts), use_cache=True, logits_to_keep=1)
    last = out.logits[:, -1].argmax(-1)
    tokens = [last]
    first = time.perf_counter()
    for _ in range(wanted - 1):
        out = model(last[:, None], past_key_values=out.past_key_values, use_cache=True)
        last = out.logits[:, -1].argmax(-1)
        tokens.append(last)
    ended = time.perf_counter()
    seconds = first - began if wanted == 1 else ended - first
    return {"seconds": seconds, "tokens": torch.stack(tokens, 1).tolist()}


def say(value: dict) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
