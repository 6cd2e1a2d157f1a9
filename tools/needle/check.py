#!/usr/bin/env python3
"""Proves the prompts on the fp32 reference: the number must be the model's greedy answer at a length numpy can hold.

    python3 tools/needle/check.py models/needle-14m-q8_0.gguf data/books/moby-dick.txt 2048

Needs numpy, gguf and tokenizers.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
from prompts import build, sentences  # noqa: E402
from reference import Model  # noqa: E402
from tokens import from_gguf  # noqa: E402


def main(path, book, tokens):
    model = Model(path)
    tokenizer, lines, right = from_gguf(model.meta), sentences(book), 0
    encode = lambda text: [model.meta["tokenizer.ggml.bos_token_id"]] + tokenizer.encode(text, add_special_tokens=False).ids
    depths = [0.0, 0.25, 0.5, 0.75, 1.0]
    for index, depth in enumerate(depths):
        prompt = build(lines, lambda text: len(encode(text)), int(tokens), depth, index)
        ids = encode(prompt.document + prompt.question)
        whole = encode(f"{prompt.document}{prompt.question} {prompt.answer}.")
        said = tokenizer.decode([int(i) for i in model.stats(whole)["argmax"][len(ids) - 1 :]])
        good = said.strip() == f"{prompt.answer}."
        right += good
        print(f"{len(ids)} tokens, depth {depth}: {said!r}, expected {prompt.answer}, {'right' if good else 'WRONG'}")
    sys.exit(0 if right == len(depths) else 1)


if __name__ == "__main__":
    main(*sys.argv[1:4])
