#!/usr/bin/env python3
"""Writes the seeds of the readers' fuzz targets: fuzz/corpus/{gguf,safetensors,hf_config}.

    pip install gguf==0.19.0 safetensors==0.8.0 && tools/make_fuzz_corpus.py

The files are made by the formats' own packages, small, and between them hold every value type, every tensor format and every
kind of configuration that Loci reads.
"""

import json
import pathlib
import struct

import gguf
import numpy as np
from safetensors.numpy import save

CORPUS = pathlib.Path(__file__).resolve().parent.parent / "fuzz/corpus"
RANDOM = np.random.default_rng(5)
FORMATS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "BF16"]


def gguf_writer(name: str, arch: str = "llama") -> gguf.GGUFWriter:
    folder = CORPUS / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    return gguf.GGUFWriter(folder / name, arch)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gguf_values() -> None:
    writer = gguf_writer("values.gguf")
    writer.add_uint8("u8", 1)
    writer.add_int8("i8", -1)
    writer.add_uint16("u16", 2)
    writer.add_int16("i16", -2)
    writer.add_uint32("u32", 3)
    writer.add_int32("i32", -3)
    writer.add_uint64("u64", 4)
    writer.add_int64("i64", -4)
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.25)
    writer.add_bool("bool", True)
    writer.add_string("text", "words")
    writer.add_array("texts", ["a", "", "longer than a short string"])
    writer.add_array("ints", [1, -2, 3])
    writer.add_array("floats", [0.5, 1.5])
    writer.add_array("bools", [True, False])
    finish(writer)


def write_gguf_tensors() -> None:
    for name in FORMATS:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        writer = gguf_writer(f"{name.lower()}.gguf", "gemma3")
        if name == "Q4_0":
            writer.add_custom_alignment(64)
        writer.add_tensor("norm", np.ones(3, dtype=np.float32))
        writer.add_tensor("half", np.ones((2, 3), dtype=np.float16))
        rows = RANDOM.integers(0, 256, (2, size if elements > 1 else 4), dtype=np.uint8)
        writer.add_tensor("weight", rows, raw_dtype=kind)
        finish(writer)


# Loci's own types: number in the file, columns and bytes of a row. The package cannot write them.
ROW_SCALED = {1000: (32, 20), 1001: (32, 20), 1002: (64, 36), 1003: (128, 68), 1004: (32, 34)}


def write_gguf_row_scaled() -> None:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    header = b"GGUF" + struct.pack("<IQQ", 3, len(ROW_SCALED), 1)
    header += text("loci.checksum.tensors") + struct.pack("<IIQ", 9, 11, len(ROW_SCALED)) + bytes(8 * len(ROW_SCALED))
    data = b""
    for number, (columns, size) in ROW_SCALED.items():
        header += text(f"t{number}") + struct.pack("<IQQIQ", 2, columns, 2, number, len(data))
        rows = RANDOM.integers(0, 16, 2 * size, dtype=np.uint8).tobytes()
        data += rows + bytes(-len(rows) % 32)
    (CORPUS / "gguf/row_scaled.gguf").write_bytes(header + bytes(-len(header) % 32) + data)


def write_gguf_vocabulary() -> None:
    writer = gguf_writer("vocabulary.gguf")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([b"<s>", b"</s>", b"a", b"b", b"ab"])
    writer.add_token_types([3, 3, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    finish(writer)


def write_safetensors() -> None:
    folder = CORPUS / "safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    one = np.ones((2, 3), dtype=np.float32)
    samples = {
        "empty": save({}),
        "scalar": save({"scalar": np.float32(1)[None].reshape(())}),
        "kinds": save({f"t.{t}": np.ones(3, dtype=t) for t in ("float16", "float32", "float64", "int64", "int8", "uint8", "bool")}),
        "llama": save({"model.embed_tokens.weight": one, "model.layers.0.self_attn.q_proj.weight": one.astype(np.float16),
                       "model.layers.0.post_attention_layernorm.weight": one[0], "lm_head.weight": one}, {"format": "pt"}),
        "multimodal": save({"language_model.model.norm.weight": one[0], "vision_tower.a": one,
                            "model.language_model.layers.3.pre_feedforward_layernorm.weight": one[0]}),
    }
    for name, content in samples.items():
        (folder / f"{name}.safetensors").write_bytes(content)


LLAMA = {
    "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
    "rope_theta": 5e5, "vocab_size": 100, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": [2, 3],
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 1024}
GEMMA = {
    "model_type": "gemma3_text", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "sliding_window": 512,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "query_pre_attn_scalar": 256,
    "hidden_activation": "gelu_pytorch_tanh", "attn_logit_softcapping": None,
    "rope_parameters": {"full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
                        "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"}},
}


def write_configs() -> None:
    folder = CORPUS / "hf_config"
    folder.mkdir(parents=True, exist_ok=True)
    samples = {
        "llama": LLAMA,
        "llama3": LLAMA | {"rope_scaling": LLAMA3},
        "llama3_v5": LLAMA | {"rope_parameters": LLAMA3 | {"rope_theta": 5e5}},
        "yarn": LLAMA | {"model_type": "qwen2", "use_sliding_window": False,
                         "rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": 32, "attention_factor": 1.1}},
        "mistral": LLAMA | {"model_type": "mistral", "sliding_window": 4096, "head_dim": 16},
        "qwen3": LLAMA | {"model_type": "qwen3", "layer_types": ["full_attention"] * 2},
        "gemma3": GEMMA,
        "gemma3_v4": {k: v for k, v in GEMMA.items() if k not in ("layer_types", "rope_parameters")}
        | {"sliding_window_pattern": 2, "rope_local_base_freq": 10000, "rope_scaling": None},
        "multimodal": {"model_type": "gemma3", "text_config": GEMMA, "eos_token_id": [1, 106]},
    }
    for name, config in samples.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    both = json.dumps(LLAMA) + "\0" + json.dumps({"eos_token_id": [2, 7], "bos_token_id": 1})
    (folder / "with_generation.json").write_text(both)


if __name__ == "__main__":
    write_gguf_values()
    write_gguf_tensors()
    write_gguf_row_scaled()
    write_gguf_vocabulary()
    write_safetensors()
    write_configs()
