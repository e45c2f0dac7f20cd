"""A Llama of Hugging Face's transformers, with the numbers of a GGUF file."""
import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM


def value(reader, key):
    return reader.fields[key].contents()


def load(path, dtype):
    """The model, its 8-bit matrices unpacked."""
    reader = gguf.GGUFReader(path)
    of = lambda key: value(reader, "llama." + key)
    heads, kv_heads = of("attention.head_count"), of("attention.head_count_kv")
    hidden = of("embedding_length")
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=of("feed_forward_length"),
        num_hidden_layers=of("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=hidden // heads,
        vocab_size=len(value(reader, "tokenizer.ggml.tokens")),
        max_position_embeddings=of("context_length"),
        rms_norm_eps=of("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": float(of("rope.freq_base"))},
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}

    def halves(matrix, heads):
        """ggml interleaves the two halves of each head's queries and keys."""
        rows = matrix.shape[0]
        return matrix.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows, -1)

    state = {"model.embed_tokens.weight": tensors["token_embd.weight"], "model.norm.weight": tensors["output_norm.weight"]}
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }
    for i in range(config.num_hidden_layers):
        for name, part in parts.items():
            tensor = tensors[f"blk.{i}.{part}.weight"]
            if part in ("attn_q", "attn_k"):
                tensor = halves(tensor, heads if part == "attn_q" else kv_heads)
            state[f"model.layers.{i}.{name}.weight"] = tensor
    model = LlamaForCausalLM(config).to(dtype)
    missing, unknown = model.load_state_dict({k: torch.tensor(np.array(v)).to(dtype) for k, v in state.items()}, strict=False)
    assert not unknown and set(missing) <= {"lm_head.weight"}, (missing, unknown)
    model.tie_weights()
    return model


def logprobs(model, tokens, prompt):
    """Of each token from `prompt` on, after those before it."""
    logits = model(torch.tensor([tokens[:-1]])).logits[0, prompt - 1:]
    return logits.log_softmax(-1).gather(1, torch.tensor(tokens[prompt:])[:, None])[:, 0]
