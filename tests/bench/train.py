#!/usr/bin/env python3
"""A training step here and in PyTorch with PEFT, in turns on the same core: processor seconds and memory.

    cargo build --release -p local-model --example train
    VENV/bin/python tests/bench/train.py target/models/smollm2-135m-instruct.q8_0.gguf

where VENV has `pip install torch peft transformers gguf`. Both do the same: one example of 256 (or 1,024) tokens, each
predicted, there and back, and a step of AdamW; rank 8, all seven linear layers, 32 bits. PyTorch has the 8-bit matrices
unpacked once and for all. The first step of each process is not counted.
"""
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 4


def here(model, count):
    """Processor seconds of each step, and the largest memory in MB."""
    run = subprocess.run([ROOT / "target/release/examples/train", model, str(count), str(STEPS), "1"],
                         check=True, capture_output=True, text=True).stdout
    steps = [float(x) for x in re.findall(r"([\d.]+) cpu-s", run)]
    return steps[1:], max(int(x) for x in re.findall(r"at most (\d+) kB", run)) / 1024


def there(model, count):
    run = subprocess.run([sys.executable, __file__, "--peft", model, str(count)],
                         check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}).stdout
    *steps, memory = map(float, run.split())
    return steps[1:], memory


def peft(path, count):
    sys.path.insert(0, str(ROOT / "host/local-model/tests/train"))
    import llama
    import torch
    from peft import LoraConfig, get_peft_model

    torch.set_num_threads(1)
    model = llama.load(path, torch.float32)
    model.config._attn_implementation = "sdpa"
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=modules, task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-4)
    tokens = torch.tensor([[1000 + i * 7919 % 40_000 for i in range(count + 1)]])
    cpu = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    for _ in range(STEPS):
        start = cpu()
        optimizer.zero_grad()
        logits = model(tokens[:, :-1]).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum")
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        print(cpu() - start)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main():
    if sys.argv[1] == "--peft":
        return peft(sys.argv[2], int(sys.argv[3]))
    for count in (256, 1024):
        ours, theirs, memory = [], [], [0, 0]
        # In turns, so that what else the machine does meets both.
        for _ in range(3):
            for side, (steps, run) in enumerate(((ours, here), (theirs, there))):
                seconds, most = run(sys.argv[1], count)
                steps += seconds
                memory[side] = max(memory[side], most)
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{count:5} tokens: here {a:6.2f} cpu-s, PEFT {b:6.2f} cpu-s, ratio {a / b:.2f}; "
              f"memory here {memory[0]:5.0f} MB, PEFT {memory[1]:5.0f} MB, ratio {memory[0] / memory[1]:.2f}", flush=True)


if __name__ == "__main__":
    main()
