#!/usr/bin/env python3
"""Writes tests/data/tokenizers: small vocabularies trained here, and what PyPI's `tokenizers` and `sentencepiece` make of a
few hundred texts with each.

    python3 -m venv VENV && VENV/bin/pip install tokenizers sentencepiece protobuf gguf
    VENV/bin/python tools/tokenizers/goldens.py BOOK.txt...

byte_level.json serves every pre-tokenizer family: "gguf" is the vocabulary's metadata without `pre`, "steps" says for each family
what its tokenizer.json would, "groups" lists for each text the families that agree on its ids. "plain" are the ids with the text
of special tokens read as plain text (null: the same ids).
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer

import families
import vocabularies
from random_text import random_strings

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/tokenizers"
LONGEST = 60  # characters; longer texts say little more


def both_ways(reference, texts, add_special):
    """Ids with special tokens read, and with special-token text as plain text where that differs."""
    reference.encode_special_tokens = False
    special = [e.ids for e in reference.encode_batch(texts, add_special_tokens=add_special)]
    reference.encode_special_tokens = True
    plain = [e.ids for e in reference.encode_batch(texts, add_special_tokens=add_special)]
    return special, [p if p != s else None for s, p in zip(special, plain)]


def write(name, value):
    (OUT / name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("\u2028", "\\u2028") + "\n")


def write_byte_level(corpus, texts):
    vocabulary = vocabularies.train_crossing_bpe(corpus, 1500)
    steps, results = {}, {}
    for family in families.FAMILIES:
        reference = vocabularies.bpe_reference({**vocabulary, "pre": family})
        results[family] = list(zip(*both_ways(reference, texts, False)))
        state = json.loads(reference.to_str())
        steps[family] = {key: state[key] for key in ("normalizer", "pre_tokenizer", "decoder")}
        steps[family]["ignore_merges"] = state["model"]["ignore_merges"]
    groups = []
    for i in range(len(texts)):
        groups.append([])
        for family, result in results.items():
            same = next((g for g in groups[-1] if (g["ids"], g["plain"]) == result[i]), None)
            if same is None:
                groups[-1].append({"families": [family], "ids": result[i][0], "plain": result[i][1]})
            else:
                same["families"].append(family)
    write("byte_level.json", {"gguf": vocabulary, "steps": steps, "texts": texts, "groups": groups})


def write_sentencepiece(books, texts):
    lines = [line for book in books for line in book[:200000].splitlines() if line.strip()] + random_strings(50, 3)
    texts = [t.replace("▁", " ") for t in texts]  # it cannot tell the two apart
    shapes = {"bytes": {}, "symbols": {"prefix": False, "symbols": ["\n\n", "  ", "[multimodal]"]}, "unknown": {"byte_fallback": False}}
    for name, options in shapes.items():
        vocabulary = vocabularies.train_sentencepiece(lines, 600, **options)
        ids = vocabularies.sentencepiece_reference(vocabulary).EncodeAsIds(texts)
        write(f"sentencepiece_{name}.json", {"gguf": vocabulary, "texts": texts, "plain": ids})


def write_tokenizer_json(corpus, texts):
    for name, state in vocabularies.tokenizer_json_variants(corpus).items():
        text = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
        ids, plain = both_ways(Tokenizer.from_str(text), texts, True)
        write(f"json_{name.replace('-', '_')}.json", {"tokenizer_json": text, "texts": texts, "ids": ids, "plain": plain})


def main():
    books = [pathlib.Path(b).read_bytes().decode() for b in sys.argv[1:]]
    if not books:
        raise SystemExit(__doc__)
    OUT.mkdir(parents=True, exist_ok=True)
    corpus = [b[at:at + 400] for b in books for at in range(0, min(len(b), 160000), 400)] + random_strings(3000, 2)
    prose = [b[at:at + LONGEST] for b in books for at in range(200000, 200000 + 15 * 4001, 4001)]
    texts = ["", " ", "a", *prose, *(t[:LONGEST] for t in random_strings(240, 3))]
    write_byte_level(corpus, texts)
    write_sentencepiece(books, texts[:140])
    write_tokenizer_json(corpus, texts[:140])


if __name__ == "__main__":
    main()
