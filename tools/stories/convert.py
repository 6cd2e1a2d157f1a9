#!/usr/bin/env python3
"""stories260K.bin + tok512.bin (llama2.c's formats) to one GGUF file: llama architecture, F32, SentencePiece vocabulary.

    python3 tools/stories/convert.py stories260K.bin tok512.bin models/stories260k.gguf

Rotary pairs of these weights are adjacent, as in GGUF llama files, so no row moves. Needs numpy and gguf.
"""
import hashlib
import struct
import sys

import gguf
import numpy as np

SHA256 = {
    "weights": "b0a507e7ad0f626624f17112325e66691f9076d622e1d3274d103d00299f2696",
    "tokens": "037cb335abb25d1fa9e8ecae30ed2a3a8ace9302862ebcdc05d51a6bbb10c312",
}


def read(path, kind):
    with open(path, "rb") as file:
        data = file.read()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256[kind]:
        sys.exit(f"{path}: sha256 is {found}, {SHA256[kind]} is expected (a copy with transposed matrices exists)")
    return data


def vocabulary(data):
    """[(bytes, score)] by id."""
    at, pieces = 4, []
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        pieces.append((data[at + 8 : at + 8 + length], score))
        at += 8 + length
    return pieces


def add_vocabulary(writer, pieces):
    kind = gguf.TokenType
    fixed = [("<unk>", kind.UNKNOWN), ("<s>", kind.CONTROL), ("</s>", kind.CONTROL)]
    texts = [text for text, _ in fixed] + [p.decode("utf-8").replace(" ", "\u2581") for p, _ in pieces[3:]]
    types = [t for _, t in fixed] + [kind.BYTE if i < 259 else kind.NORMAL for i in range(3, len(pieces))]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(texts)
    writer.add_token_scores([score for _, score in pieces])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)


def tensors(data):
    """(GGUF name, array) in the order of the file."""
    dim, hidden, layers, heads, kv_heads, vocab, _ = struct.unpack_from("<7i", data)
    kv = dim // heads * kv_heads
    groups = [("attn_norm", (dim,)), ("attn_q", (dim, dim)), ("attn_k", (kv, dim)), ("attn_v", (kv, dim)),
              ("attn_output", (dim, dim)), ("ffn_norm", (dim,)), ("ffn_gate", (hidden, dim)), ("ffn_down", (dim, hidden)),
              ("ffn_up", (hidden, dim))]
    values, at = np.frombuffer(data, "<f4", offset=28), 0

    def take(shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return values[at - count : at].reshape(shape)

    yield "token_embd.weight", take((vocab, dim))
    for name, shape in groups:
        for layer in range(layers):
            yield f"blk.{layer}.{name}.weight", take(shape)
    yield "output_norm.weight", take((dim,))


def main(weights, tokens, out):
    data, pieces = read(weights, "weights"), vocabulary(read(tokens, "tokens"))
    dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack_from("<7i", data)
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name("stories260K")
    writer.add_license("mit")
    writer.add_author("Andrej Karpathy")
    writer.add_context_length(context)
    writer.add_embedding_length(dim)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(dim // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_vocabulary(writer, pieces)
    for name, array in tensors(data):
        writer.add_tensor(name, array.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:4])
