"""Text to ids with the `tokenizers` library and a GGUF's vocabulary: independent of the engine's own tokenizer."""
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers


def from_gguf(meta):
    tokens = meta["tokenizer.ggml.tokens"]
    if meta["tokenizer.ggml.model"] == "gpt2":
        return byte_level(tokens, meta)
    return sentence_piece(tokens, meta)


def byte_level(tokens, meta):
    if meta["tokenizer.ggml.pre"] != "smollm":
        raise ValueError(f"pre-tokenizer {meta['tokenizer.ggml.pre']} is not written here")
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentence_piece(tokens, meta):
    """BPE by scores: the pair whose union has the best score merges first, which is a merge list in order of score."""
    ids, scores = {t: i for i, t in enumerate(tokens)}, meta["tokenizer.ggml.scores"]
    merges = []
    for token, index in ids.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ids and right in ids and meta["tokenizer.ggml.token_type"][index] == 1:
                merges.append((-scores[index], ids[left], ids[right], left, right))
    merges.sort()
    unknown = tokens[meta["tokenizer.ggml.unknown_token_id"]]
    model = models.BPE(ids, [(m[3], m[4]) for m in merges], unk_token=unknown, byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def encode(meta, text, count):
    """The first `count` ids, BOS in front where the model asks for it."""
    ids = from_gguf(meta).encode(text, add_special_tokens=False).ids
    if meta.get("tokenizer.ggml.add_bos_token", meta["tokenizer.ggml.model"] == "llama"):
        ids = [meta["tokenizer.ggml.bos_token_id"]] + ids
    if len(ids) < count:
        raise ValueError(f"the text has {len(ids)} tokens, {count} are needed")
    return ids[:count]
