#!/usr/bin/env python3
"""Tiny random models in Hugging Face folders, with what `transformers` says of them in fp32 (eager attention).

    python3 tools/parity/tiny.py tests/data/parity

Weights have a standard deviation far above the default, so that a wrong angle, head or bias shows. Each folder holds
config.json, safetensors, tokenizer.json, ids.json and golden.json (see goldens.py). Needs torch, transformers, tokenizers.
"""
import json
import pathlib
import shutil
import sys

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

from goldens import write

VOCAB = 320
COMMON = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=4.0)
DEFAULT = dict(rope_type="default", rope_theta=10000.0)
# name: (model class, config, data type, shards, tokens)
MODELS = {
    "tiny-llama3": (LlamaForCausalLM, LlamaConfig(**COMMON, rope_parameters=LLAMA3, tie_word_embeddings=True),
                    torch.bfloat16, 1, 384),
    "tiny-llama-linear": (LlamaForCausalLM, LlamaConfig(**COMMON, rope_parameters=LINEAR, tie_word_embeddings=False),
                          torch.bfloat16, 3, 256),
    "tiny-qwen2": (Qwen2ForCausalLM, Qwen2Config(**COMMON, rope_parameters=DEFAULT, tie_word_embeddings=False),
                   torch.bfloat16, 1, 256),
    "tiny-qwen3": (Qwen3ForCausalLM, Qwen3Config(**{**COMMON, "intermediate_size": 64}, head_dim=32,
                                                 rope_parameters=DEFAULT, tie_word_embeddings=True),
                   torch.float32, 1, 256),
    "tiny-gemma3": (Gemma3ForCausalLM,
                    Gemma3TextConfig(**{**COMMON, "num_hidden_layers": 6, "num_key_value_heads": 1, "hidden_size": 32,
                                        "intermediate_size": 64},
                                     head_dim=32, query_pre_attn_scalar=32, sliding_window=32, rope_parameters={
                                         "sliding_attention": DEFAULT,
                                         "full_attention": dict(rope_type="default", rope_theta=1000000.0)}),
                    torch.bfloat16, 1, 256),
}


def alphabet():
    """The byte-level alphabet by byte value: printable bytes stand for themselves, the others for U+0100 and up."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, spare = {b: chr(b) for b in shown}, 256
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(spare)
            spare += 1
    return letters


def tokenizer():
    """Byte-level BPE: 3 special tokens, 256 bytes, a few merges up to VOCAB entries."""
    letters = alphabet()
    vocab = {t: i for i, t in enumerate(["<|pad|>", "<|begin|>", "<|end|>"])}
    vocab.update({letters[b]: 3 + b for b in range(256)})
    merges = []
    space = letters[32]
    for left, right in [(space, "t"), ("h", "e"), (space, "a"), ("i", "n"), ("e", "r"), (space, "w"), (space, "s"), ("o", "u"),
                        (space + "t", "he"), ("r", "e"), ("o", "n"), ("n", "d"), (space, "b"), ("i", "t"), ("a", "t"),
                        ("e", "s"), ("in", "g"), (space + "a", "nd"), ("o", "r"), ("i", "s")]:
        vocab[left + right] = len(vocab)
        merges.append((left, right))
    made = Tokenizer(models.BPE(vocab, merges))
    made.add_special_tokens(["<|pad|>", "<|begin|>", "<|end|>"])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def randomize(model, seed):
    """Matrices of 1 / sqrt(in), norms about 1, biases of 0.5: several times what a fresh model has."""
    generator = torch.Generator().manual_seed(seed)
    offset = 0.0 if isinstance(model, Gemma3ForCausalLM) else 1.0  # Gemma's norms multiply by 1 + w
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if "norm" in name:
            p.data = offset + 0.2 * noise
        elif p.dim() == 1:
            p.data = 0.5 * noise
        elif "embed" in name:
            p.data = 0.15 * noise
        else:
            p.data = noise / p.shape[1] ** 0.5
    model.tie_weights()


def stats(model, ids):
    logits = model(torch.tensor([ids])).logits[0, :-1].double()
    nll = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
    two = logits.topk(2, dim=-1).values
    return {"nll": nll.numpy(), "argmax": logits.argmax(-1).numpy(), "gap": (two[:, 0] - two[:, 1]).numpy()}


def publish(path, name):
    """Some folders keep the older spelling of the RoPE settings: most published checkpoints have it."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    if name == "tiny-gemma3":
        config["rope_theta"] = rope["full_attention"]["rope_theta"]
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    else:
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make(folder, name, seed):
    kind, config, dtype, shards, count = MODELS[name]
    out = folder / name
    shutil.rmtree(out, ignore_errors=True)
    config._attn_implementation = "eager"
    model = kind(config)
    randomize(model, seed)
    model = model.to(dtype)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(out, max_shard_size=size * 10 // (shards * 8) if shards > 1 else "1GB")
    tokenizer().save(str(out / "tokenizer.json"))
    if name in ("tiny-llama3", "tiny-qwen2", "tiny-gemma3"):
        publish(out / "config.json", name)
    (out / "generation_config.json").unlink(missing_ok=True)
    ids = [1] + [int(i) for i in np.random.default_rng(seed).integers(3, VOCAB - 41, count - 1)]
    # Read back what was saved: a conversion in place would leave RoPE frequencies and scales rounded to bf16.
    saved = kind.from_pretrained(out, dtype=torch.float32, attn_implementation="eager").eval()
    write(out, "tiny", ids, stats(saved, ids))
    (out / "tiny.ids.json").rename(out / "ids.json")
    (out / "tiny.golden.json").rename(out / "golden.json")
    print(name, sum(f.stat().st_size for f in out.iterdir()), sorted(f.name for f in out.iterdir()))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    target = pathlib.Path(sys.argv[1])
    for index, model_name in enumerate(MODELS):
        make(target, model_name, 100 + index)
