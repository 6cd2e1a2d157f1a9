#!/usr/bin/env python3
"""Compares Loci's tokenizers id for id with PyPI's `tokenizers` and `sentencepiece`.

    python3 -m venv VENV && VENV/bin/pip install tokenizers sentencepiece protobuf gguf
    VENV/bin/python tools/tokenizers/compare.py --program build/cpu/tokenize_batch --book BOOK.txt... [--model FILE.gguf...]

Texts: --count random Unicode strings and every book as one text. Tokenizers: a vocabulary for each pre-tokenizer family,
SentencePiece models, tokenizer.json shapes (all trained here), and the vocabularies of the given models, which may also be
tokenizer.json files. Prints one row for each; the exit status is 1 if any id differs or a lossless one loses text.
"""

import argparse
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, pre_tokenizers

import families
import vocabularies
from random_text import random_strings


class Batch:
    """Runs the program that encodes many texts in one go."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def encode(self, model, texts, *options):
        data = [t.encode() for t in texts]
        source, out = self.folder / "texts.bin", self.folder / "ids.bin"
        source.write_bytes(b"".join(struct.pack("<I", len(d)) + d for d in data))
        done = subprocess.run([self.program, model, source, out, *options], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{model}: {done.stderr}")
        raw, ids, at = out.read_bytes(), [], 0
        while at < len(raw):
            n = struct.unpack_from("<I", raw, at)[0]
            ids.append(list(struct.unpack_from(f"<{n}i", raw, at + 4)))
            at += 4 + 4 * n
        speed, lossy = re.search(r"([\d.]+) MB/s, (\d+) not restored", done.stderr).groups()
        return ids, float(speed), int(lossy)


def report(name, texts, expected, got, speed, lossy, lossless):
    wrong = [i for i in range(len(texts)) if expected[i] != got[i]]
    bad = bool(wrong) or (lossless and lossy > 0)
    print(f"{name:40} {len(texts) - len(wrong):6} of {len(texts)} equal, {sum(map(len, expected)):9} ids, {lossy:5} not restored"
          f"{'' if lossless else ' (lossy by design)'}, {speed:6.1f} MB/s{'   DIFFERENT' if bad else ''}", flush=True)
    for i in wrong[:3]:
        at = next((k for k, (a, b) in enumerate(zip(expected[i], got[i])) if a != b), min(len(expected[i]), len(got[i])))
        print(f"    {texts[i][:120]!r}: from id {at}: expected {expected[i][at:at + 8]}, got {got[i][at:at + 8]}")
    return bad


def compare_bpe(batch, name, path, vocabulary, texts):
    reference = vocabularies.bpe_reference(vocabulary)
    every_byte = set(pre_tokenizers.ByteLevel.alphabet()) <= set(vocabulary["tokens"])
    lossless = vocabulary["pre"] not in families.NFC and every_byte
    bad = False
    for special in (True, False):
        reference.encode_special_tokens = not special
        expected = [e.ids for e in reference.encode_batch(texts, add_special_tokens=False)]
        got = batch.encode(path, texts, "--no-add", *([] if special else ["--plain"]))
        bad |= report(f"{name} {'special' if special else 'plain'}", texts, expected, *got, lossless)
    return bad


def compare_sentencepiece(batch, name, path, vocabulary, texts):
    reference = vocabularies.sentencepiece_reference(vocabulary)
    lossless = vocabularies.BYTE in vocabulary["token_type"]
    texts = [t.replace("▁", " ") for t in texts]  # it cannot tell the two apart
    return report(f"{name} plain", texts, reference.EncodeAsIds(texts), *batch.encode(path, texts, "--no-add", "--plain"), lossless)


def compare_json(batch, name, path, texts):
    reference = Tokenizer.from_file(str(path))
    bad = False
    for special in (True, False):
        reference.encode_special_tokens = not special
        expected = [e.ids for e in reference.encode_batch(texts, add_special_tokens=True)]
        bad |= report(f"{name} {'special' if special else 'plain'}", texts, expected, *batch.encode(path, texts, *([] if special else ["--plain"])), False)
    return bad


def compare_trained(batch, folder, texts, corpus, books):
    crossing = vocabularies.train_crossing_bpe(corpus, 3000)
    bad = False
    for family in families.FAMILIES:
        path = folder / f"{family}.gguf"
        vocabulary = {**crossing, "pre": family}
        vocabularies.write_gguf(path, vocabulary)
        bad |= compare_bpe(batch, family, path, vocabulary, texts)
    lines = [line for book in books for line in book[:200000].splitlines() if line.strip()] + random_strings(50, 3)
    for name, options in {"sentencepiece bytes": {}, "sentencepiece no-prefix": {"prefix": False, "symbols": ["\n\n", "  ", "[multimodal]"]},
                          "sentencepiece unk": {"byte_fallback": False}}.items():
        path = folder / "sentencepiece.gguf"
        vocabulary = vocabularies.train_sentencepiece(lines, 1200, **options)
        vocabularies.write_gguf(path, vocabulary)
        bad |= compare_sentencepiece(batch, name, path, vocabulary, texts)
    for name, state in vocabularies.tokenizer_json_variants(corpus).items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(state))
        bad |= compare_json(batch, f"{name}.json", path, texts)
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--book", action="append", default=[])
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models-only", action="store_true")
    args = parser.parse_args()
    books = [pathlib.Path(b).read_bytes().decode() for b in args.book]
    texts = random_strings(args.count, args.seed) + books
    corpus = [b[at:at + 400] for b in books for at in range(0, min(len(b), 160000), 400)] + random_strings(3000, args.seed + 1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        batch = Batch(args.program, folder)
        bad = False
        for path in args.model:
            if path.endswith(".json"):
                bad |= compare_json(batch, path, path, texts)
                continue
            vocabulary = vocabularies.read_gguf(path)
            compare = compare_bpe if vocabulary["model"] == "gpt2" else compare_sentencepiece
            bad |= compare(batch, pathlib.Path(path).name, path, vocabulary, texts)
        if not args.models_only:
            bad |= compare_trained(batch, folder, texts, corpus, books)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
