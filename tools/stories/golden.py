#!/usr/bin/env python3
"""Goldens of stories260K from the fp32 reference: the greedy story of 200 tokens, and what the model says of its ids.

    python3 tools/stories/golden.py models/stories260k.gguf tests/data/parity

Writes stories.txt, stories.ids.json and stories.golden.json. Needs numpy and gguf.
"""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
from goldens import write  # noqa: E402
from reference import Model  # noqa: E402


def text(model, ids):
    pieces = [model.meta["tokenizer.ggml.tokens"][i] for i in ids]
    byte = re.compile(r"<0x([0-9A-F]{2})>")
    raw = b"".join(bytes([int(m[1], 16)]) if (m := byte.fullmatch(p)) else p.encode() for p in pieces)
    return raw.decode("utf-8").replace("\u2581", " ").lstrip(" ")


def main(path, folder):
    model, ids = Model(path), [1]
    for _ in range(200):
        ids.append(int(model.logits(model.hidden(ids)[-1:]).argmax()))
    pathlib.Path(folder, "stories.txt").write_text(text(model, ids[1:]), encoding="utf-8")
    stats = model.stats(ids)
    write(pathlib.Path(folder), "stories", ids, stats)
    print(f"smallest gap {stats['gap'].min():.4f}, mean nll {stats['nll'].mean():.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
