#!/usr/bin/env python3
"""Writes what PyTorch and PEFT make of two models, for the tests of the trainer.

    UPDATE_GOLDEN=1 cargo test --release -p local-model golden    # lays an adapter of ours in target/peft-export
    python golden.py target/models/smollm2-135m-instruct.q8_0.gguf target/peft-export

in an environment with `pip install torch peft transformers gguf` (made with torch 2.15, peft 0.21, transformers 5.24). It
makes a small model of its own, tiny.gguf, with an adapter that PEFT saves; computes in 64 bits.
"""
import hashlib
import json
import pathlib
import sys

import gguf
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

import llama

HERE = pathlib.Path(__file__).parent
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LOW, HIGH = 0.8, 1.2
ADAM = dict(lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
CLIP = 1.0


def write_tiny(path):
    random = np.random.default_rng(7)
    hidden, inner, layers, heads, kv_heads = 64, 96, 2, 4, 2
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    others = iter(range(256, 512))
    tokens = [chr(b) if b in printable else chr(next(others)) for b in range(256)]
    tokens += ["<|im_start|>", "<|im_end|>", "he", "ll"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(256)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i in (256, 257) else 1 for i in range(len(tokens))])
    writer.add_token_merges(["h e", "l l"])
    writer.add_eos_token_id(257)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                             "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
    kv = hidden * kv_heads // heads

    def matrix(name, rows, cols):
        numbers = random.normal(0, 1.5 / cols ** 0.5, (rows, cols)).astype(np.float32)
        quantised = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    def norm(name):
        writer.add_tensor(name, random.uniform(0.8, 1.2, hidden).astype(np.float32))

    matrix("token_embd.weight", len(tokens), hidden)
    norm("output_norm.weight")
    for i in range(layers):
        norm(f"blk.{i}.attn_norm.weight")
        matrix(f"blk.{i}.attn_q.weight", hidden, hidden)
        matrix(f"blk.{i}.attn_k.weight", kv, hidden)
        matrix(f"blk.{i}.attn_v.weight", kv, hidden)
        matrix(f"blk.{i}.attn_output.weight", hidden, hidden)
        norm(f"blk.{i}.ffn_norm.weight")
        matrix(f"blk.{i}.ffn_gate.weight", inner, hidden)
        matrix(f"blk.{i}.ffn_up.weight", inner, hidden)
        matrix(f"blk.{i}.ffn_down.weight", hidden, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def loss_of(kind, now, then, advantage):
    ratio = (now - then).exp()
    cut = ratio.clamp(LOW, HIGH)
    return {
        "cross_entropy": lambda: -(advantage * now).sum(),
        "importance_sampling": lambda: -(ratio * advantage).sum(),
        "ppo": lambda: -torch.minimum(ratio * advantage, cut * advantage).sum(),
        "cispo": lambda: -(cut.detach() * now * advantage).sum(),
    }[kind]()


def named(model):
    """The adapter's parameters by the names that they have in files."""
    return {name.replace(".default.weight", ".weight"): p for name, p in model.named_parameters() if "lora_" in name}


def tiny():
    write_tiny(HERE / "tiny.gguf")
    torch.manual_seed(11)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=MODULES, task_type="CAUSAL_LM")
    base = llama.load(HERE / "tiny.gguf", torch.float64)
    base.config._name_or_path = base.name_or_path = "tiny"
    model = get_peft_model(base, config)
    for parameter in named(model).values():
        # Rounded as the file will be, so that both sides begin alike.
        parameter.data = (torch.randn(parameter.shape) * 0.15).to(torch.float64)
    model.base_model.model.config._name_or_path = "tiny"
    model.peft_config["default"].base_model_name_or_path = "tiny"
    model.to(torch.float32).save_pretrained(HERE / "peft")
    (HERE / "peft" / "README.md").unlink(missing_ok=True)
    model.to(torch.float64)
    model.eval()

    random = np.random.default_rng(3)
    data = []
    for length, prompt in ((24, 6), (17, 1), (70, 60)):
        tokens = [int(t) for t in random.integers(0, 260, length)]
        with torch.no_grad():
            now = llama.logprobs(model, tokens, prompt)
        then = now.numpy() + random.normal(0, 0.3, length - prompt)
        data.append({
            "tokens": tokens, "prompt": prompt,
            "logprobs": [float(np.float32(min(x, 0))) for x in then],
            "advantages": [float(np.float32(x)) for x in random.normal(0, 1, length - prompt)],
        })

    def total(kind):
        return sum(loss_of(kind, llama.logprobs(model, d["tokens"], d["prompt"]), torch.tensor(d["logprobs"], dtype=torch.float64),
                           torch.tensor(d["advantages"], dtype=torch.float64)) for d in data)

    with torch.no_grad():
        found = {"data": data, "now": [llama.logprobs(model, d["tokens"], d["prompt"]).tolist() for d in data], "losses": {}}
    tensors = {}
    for kind in ("cross_entropy", "importance_sampling", "ppo", "cispo"):
        model.zero_grad()
        loss = total(kind)
        loss.backward()
        found["losses"][kind] = loss.item()
        tensors |= {f"{kind}.{name}": p.grad.to(torch.float32).contiguous() for name, p in named(model).items()}

    optimizer = torch.optim.AdamW(named(model).values(), **ADAM)
    found["norms"] = []
    for _ in range(3):
        optimizer.zero_grad()
        total("cispo").backward()
        found["norms"].append(torch.nn.utils.clip_grad_norm_(named(model).values(), CLIP).item())
        optimizer.step()
    tensors |= {f"after.{name}": p.detach().to(torch.float32).contiguous() for name, p in named(model).items()}
    save_file(tensors, HERE / "golden.safetensors")
    return found


def real(path, export):
    """An adapter that the trainer wrote, loaded by PEFT."""
    base = llama.load(path, torch.float64)
    model = PeftModel.from_pretrained(base, export, is_trainable=True).to(torch.float64)
    model.eval()
    tokens = json.loads((export / "tokens.json").read_text())
    prompt = len(tokens) // 3
    now = llama.logprobs(model, tokens, prompt)
    (-now.sum()).backward()
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, -1]
        top = logits.topk(5)
    gradients = {}
    for name, parameter in named(model).items():
        flat = parameter.grad.flatten()
        wave = torch.sin(torch.arange(flat.numel(), dtype=torch.float64) * 0.1)
        gradients[name] = [float(f"{x:.7e}") for x in (flat.norm().item(), (flat * wave).sum().item())]
    return {
        "sha256": {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(export.iterdir()) if f.name.startswith("adapter")},
        "tokens": tokens, "prompt": prompt, "now": [round(x, 7) for x in now.tolist()],
        "top": [[int(i), round(float(x), 5)] for i, x in zip(top.indices, top.values)],
        "gradients": gradients,
    }


made = {"tiny": tiny(), "smollm2": real(sys.argv[1], pathlib.Path(sys.argv[2]))}
lines = ",\n".join(f'"{part}": {{\n' + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in found.items()) + "\n}" for part, found in made.items())
(HERE / "golden.json").write_text("{" + lines + "}\n")
