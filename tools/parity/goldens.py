#!/usr/bin/env python3
"""Writes the goldens of the parity tests: what the fp32 reference says of 1,024 tokens of prose.

    python3 tools/parity/goldens.py NAME MODEL.gguf [--book data/books/moby-dick.txt] [--out tests/data/parity]

Makes OUT/NAME.ids.json (the token ids, as `loci eval perplexity --tokens` takes them) and OUT/NAME.golden.json with `nll`,
`argmax` and `gap` (between the two best logits) of each predicted token. Needs numpy, gguf, tokenizers.
"""
import argparse
import json
import pathlib
import re
import sys

from reference import Model
from tokens import encode

START = "CHAPTER 48. The First Lowering. The phantoms"  # the middle of the book: less memorised than its first page


def prose(path):
    text = re.sub(r"\s+", " ", pathlib.Path(path).read_text(encoding="utf-8"))
    return text[text.index(START) :][:20000]


def write(folder, name, ids, stats):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.ids.json").write_text(json.dumps([int(i) for i in ids], separators=(",", ":")) + "\n")
    golden = {
        "nll": [round(float(x), 5) for x in stats["nll"]],
        "argmax": [int(x) for x in stats["argmax"]],
        "gap": [round(float(x), 4) for x in stats["gap"]],
    }
    (folder / f"{name}.golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("name")
    arguments.add_argument("model")
    arguments.add_argument("--book", default="data/books/moby-dick.txt")
    arguments.add_argument("--out", default="tests/data/parity", type=pathlib.Path)
    arguments.add_argument("--count", default=1024, type=int)
    options = arguments.parse_args()
    model = Model(options.model)
    ids = encode(model.meta, prose(options.book), options.count)
    stats = model.stats(ids)
    write(options.out, options.name, ids, stats)
    right = sum(int(a == b) for a, b in zip(stats["argmax"], ids[1:]))
    print(f"{options.name}: {len(ids)} tokens, mean nll {stats['nll'].mean():.4f}, top-1 right {right / len(ids):.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
