"""Reference tokenizers (PyPI `tokenizers`, `sentencepiece`) from GGUF vocabularies and the other way round, and small ones
trained for tests."""

import io
import json

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as sp_pb
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import families

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def read_gguf(path):
    """The vocabulary's metadata of a GGUF file, without the "tokenizer.ggml." before each key."""
    reader = gguf.GGUFReader(path)
    prefix = "tokenizer.ggml."
    return {k[len(prefix):]: f.contents() for k, f in reader.fields.items() if k.startswith(prefix)}


def write_gguf(path, vocabulary):
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in vocabulary.items():
        key = "tokenizer.ggml." + key
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def bpe_reference(vocabulary):
    """`tokenizers.Tokenizer` that reads text as the family named by `pre` does."""
    family = vocabulary["pre"]
    tokens, types = vocabulary["tokens"], vocabulary["token_type"]
    merges = [tuple(m.split(" ")) for m in vocabulary["merges"]]
    ids = {t: i for i, t in enumerate(tokens) if types[i] == NORMAL}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=family in families.IGNORE_MERGES))
    tokenizer.pre_tokenizer = families.FAMILIES[family]()
    if families.normalizer(family) is not None:
        tokenizer.normalizer = families.normalizer(family)
    tokenizer.decoder = decoders.ByteLevel()
    # `tokenizers` numbers added tokens itself: put the file's own ids into the serialized form instead.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [added(i, tokens[i], types[i] != USER_DEFINED) for i in range(len(tokens)) if types[i] in (CONTROL, USER_DEFINED, UNKNOWN)]
    for token in state["added_tokens"]:
        state["model"]["vocab"][token["content"]] = token["id"]
    return Tokenizer.from_str(json.dumps(state))


def added(index, content, special):
    return {"id": index, "content": content, "special": special, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def sentencepiece_reference(vocabulary):
    """`SentencePieceProcessor` of the same pieces and scores."""
    proto = sp_pb.ModelProto()
    proto.trainer_spec.model_type = sp_pb.TrainerSpec.BPE
    proto.trainer_spec.byte_fallback = BYTE in vocabulary["token_type"]
    unknown = vocabulary.get("unknown_token_id", 0)
    proto.trainer_spec.unk_id = unknown
    proto.trainer_spec.bos_id = vocabulary.get("bos_token_id", 1)
    proto.trainer_spec.eos_id = vocabulary.get("eos_token_id", 2)
    proto.trainer_spec.pad_id = -1
    names = vocabulary["tokens"]
    proto.trainer_spec.unk_piece = names[unknown]
    proto.trainer_spec.bos_piece = names[proto.trainer_spec.bos_id]
    proto.trainer_spec.eos_piece = names[proto.trainer_spec.eos_id]
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = vocabulary.get("add_space_prefix", True)
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.escape_whitespaces = True
    for i, (text, score, kind) in enumerate(zip(names, vocabulary["scores"], vocabulary["token_type"])):
        piece = proto.pieces.add()
        piece.piece = text.replace(" ", "▁") if kind == USER_DEFINED else text
        piece.score = score
        piece.type = UNKNOWN if i == unknown else kind
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(proto.SerializeToString())
    return processor


def train_crossing_bpe(texts, size):
    """A byte-level vocabulary trained without any pre-tokenizer: its merges reach across every border that a family sets, so a
    border in the wrong place shows. Returns GGUF metadata without `pre`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [t for t, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    merges = [" ".join(m) for m in model["merges"]]
    types = [NORMAL] * len(tokens)
    # Tokens that no merge makes: only ignore_merges finds them.
    for text in ("Ġwhale", "Ahab", "ĠĠĠĠĠĠ", "naÃ¯ve", "camelCase", "ĊĊĊ"):
        if text not in tokens:
            tokens.append(text)
            types.append(NORMAL)
    bos = len(tokens)
    for text, kind in (("<|bos|>", CONTROL), ("<|eos|>", CONTROL), ("<|im_end|>", CONTROL), ("<|im_", USER_DEFINED), ("    ", USER_DEFINED)):
        tokens.append(text)
        types.append(kind)
    return {"model": "gpt2", "tokens": tokens, "token_type": types, "merges": merges, "bos_token_id": bos, "eos_token_id": bos + 1,
            "add_bos_token": False}


def train_sentencepiece(texts, size, byte_fallback=True, prefix=True, symbols=()):
    """GGUF metadata of a SentencePiece BPE model trained on `texts`."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=out, model_type="bpe", vocab_size=size, byte_fallback=byte_fallback,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix, character_coverage=0.98,
        user_defined_symbols=list(symbols), minloglevel=2)
    proto = sp_pb.ModelProto()
    proto.ParseFromString(out.getvalue())
    kinds = [p.type for p in proto.pieces]
    return {"model": "llama", "tokens": [p.piece.replace("▁", " ") if p.type == USER_DEFINED else p.piece for p in proto.pieces],
            "scores": [p.score for p in proto.pieces], "token_type": kinds, "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0,
            "add_space_prefix": prefix}


def tokenizer_json_variants(texts):
    """Serialized tokenizers of the shapes that folders of Llama 2, Gemma, Mistral and others have, by name."""
    variants = {}

    def trained(normalizer, pre_tokenizer, decoder, specials, size=600):
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        if pre_tokenizer is not None:
            tokenizer.pre_tokenizer = pre_tokenizer
        tokenizer.decoder = decoder
        bytes_ = [f"<0x{b:02X}>" for b in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"] + bytes_, limit_alphabet=120, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        state = json.loads(tokenizer.to_str())
        keep = {"<unk>", "<s>", "</s>"}
        state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] in keep] + specials(len(state["model"]["vocab"]))
        return state

    def strip(content, n):
        return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] + ([decoders.Strip(content, n, 0)] if n else []))

    def template(state, prefix, suffix):
        tokens = {t["content"]: t["id"] for t in state["added_tokens"]}
        single = [{"SpecialToken": {"id": p, "type_id": 0}} for p in prefix] + [{"Sequence": {"id": "A", "type_id": 0}}]
        single += [{"SpecialToken": {"id": s, "type_id": 0}} for s in suffix]
        names = {n: {"id": n, "ids": [tokens[n]], "tokens": [n]} for n in prefix + suffix}
        state["post_processor"] = {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
                                   "special_tokens": names}

    none = lambda base: []
    flags = lambda base: [
        {**added(base, "<strip>", True), "lstrip": True, "rstrip": True},
        {**added(base + 1, "word", False), "single_word": True},
        {**added(base + 2, "Norm al", False), "normalized": True},
        added(base + 3, "plain added", False)]
    llama2 = trained(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, strip(" ", 1), none)
    template(llama2, ["<s>"], [])
    variants["llama2"] = llama2
    gemma = trained(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), strip(" ", 0), flags)
    template(gemma, ["<s>"], ["</s>"])
    variants["gemma"] = gemma
    variants["metaspace"] = trained(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
                                    decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]), flags)
    variants["metaspace-split"] = trained(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
                                          pre_tokenizers.Metaspace(prepend_scheme="always", split=True),
                                          decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]), none)

    byte_level = Tokenizer(models.BPE())
    byte_level.normalizer = normalizers.NFC()
    byte_level.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)])
    byte_level.decoder = decoders.ByteLevel()
    byte_level.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=500, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                                              special_tokens=["<|bos|>", "<|im_end|>"], show_progress=False))
    state = json.loads(byte_level.to_str())
    state["added_tokens"] += flags(len(state["model"]["vocab"]))
    variants["byte-level"] = state
    return variants
