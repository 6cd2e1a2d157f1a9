#!/usr/bin/env python3
"""A checkpoint to GGUF files (F16 and Q8_0) and a Hugging Face folder (bf16 safetensors). Needs numpy and gguf.

    export.py CHECKPOINT TOK OUT

Everything starts from the weights rounded to bf16, which are what was evaluated. Rows of q and k are permuted from halves to
adjacent pairs, as GGUF's llama architecture has them.
"""

import json
import os
import struct
import sys

import numpy as np

HIDDEN, LAYERS, QUERY_HEADS, KV_HEADS, HEAD_DIM, FFN, VOCABULARY, CONTEXT = 512, 6, 8, 4, 64, 768, 4096, 131072
ROPE_BASE = 1e10
HF_NAMES = dict(wq="self_attn.q_proj", wk="self_attn.k_proj", wv="self_attn.v_proj", wo="self_attn.o_proj", wg="mlp.gate_proj",
                wu="mlp.up_proj", wd="mlp.down_proj", ln1="input_layernorm", ln2="post_attention_layernorm")
GGUF_NAMES = dict(ln1="attn_norm", ln2="ffn_norm", wq="attn_q", wk="attn_k", wv="attn_v", wo="attn_output", wg="ffn_gate",
                  wu="ffn_up", wd="ffn_down")
CONFIG = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=FFN,
              num_hidden_layers=LAYERS, num_attention_heads=QUERY_HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM,
              hidden_act="silu", max_position_embeddings=CONTEXT, rms_norm_eps=1e-5, rope_theta=ROPE_BASE, rope_scaling=None,
              rope_parameters=dict(rope_type="default", rope_theta=ROPE_BASE), tie_word_embeddings=True, attention_bias=False,
              mlp_bias=False, attention_dropout=0.0, initializer_range=0.02, bos_token_id=0, eos_token_id=1, torch_dtype="bfloat16",
              use_cache=True)
GENERATION = dict(bos_token_id=0, eos_token_id=1, do_sample=False)
TOKENIZER = dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<|bos|>", eos_token="<|eos|>", add_bos_token=True,
                 clean_up_tokenization_spaces=False, model_max_length=CONTEXT)


def to_bf16(x):
    """The upper halves of fp32, rounded to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read_weights(folder):
    """bf16 bits by name, in the checkpoint's shapes."""
    weights = {}
    for part in "ab":
        with np.load(f"{folder}/{part}.npz") as file:
            weights.update({name: to_bf16(file[name]).reshape(file[name].shape) for name in file})
    return weights


def write_json(path, content):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)


def write_hugging_face(folder, weights, tokenizer):
    tensors = {"model.embed_tokens.weight": weights["emb"], "model.norm.weight": weights["fn"]}
    for i in range(LAYERS):
        tensors.update({f"model.layers.{i}.{HF_NAMES[name]}.weight": weights[name][i] for name in HF_NAMES})
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, value in tensors.items():
        header[name] = dict(dtype="BF16", shape=list(value.shape), data_offsets=[offset, offset + value.nbytes])
        offset += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in tensors.values():
            file.write(np.ascontiguousarray(value).tobytes())
    for name, content in (("config", CONFIG), ("generation_config", GENERATION), ("tokenizer_config", TOKENIZER), ("tokenizer", tokenizer)):
        write_json(f"{folder}/{name}.json", content)


def adjacent_pairs(w, heads):
    rows, columns = w.shape
    return w.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(w.shape)


def add_tokenizer(writer, tokenizer):
    texts = [None] * VOCABULARY
    for text, i in tokenizer["model"]["vocab"].items():
        texts[i] = text
    for token in tokenizer["added_tokens"]:
        texts[token["id"]] = token["content"]
    if None in texts:
        sys.exit(f"the tokenizer has no token {texts.index(None)}")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(texts)
    writer.add_token_types([3 if i in (0, 1) else 1 for i in range(VOCABULARY)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def write_gguf(path, weights, tokenizer, quantized):
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("needle-14m")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(QUERY_HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if quantized else gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_tokenizer(writer, tokenizer)

    def add(name, bits):
        value = np.ascontiguousarray(from_bf16(bits))
        if value.ndim == 1:
            writer.add_tensor(name, value)
        elif quantized:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, value.astype(np.float16))

    add("token_embd.weight", weights["emb"])
    add("output_norm.weight", weights["fn"])
    heads = {"wq": QUERY_HEADS, "wk": KV_HEADS}
    for i in range(LAYERS):
        for name, to in GGUF_NAMES.items():
            value = weights[name][i]
            add(f"blk.{i}.{to}.weight", adjacent_pairs(value, heads[name]) if name in heads else value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(path, os.path.getsize(path), "bytes")


def main(checkpoint, data, out):
    weights = read_weights(checkpoint)
    with open(f"{data}/tokenizer.json", encoding="utf-8") as file:
        tokenizer = json.load(file)
    write_hugging_face(f"{out}/model", weights, tokenizer)
    write_gguf(f"{out}/needle-14m-f16.gguf", weights, tokenizer, quantized=False)
    write_gguf(f"{out}/needle-14m-q8_0.gguf", weights, tokenizer, quantized=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
