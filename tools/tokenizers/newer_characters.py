#!/usr/bin/env python3
"""Writes src/text/newer_characters.cc: the characters that the reference tokenizers' Unicode has and PCRE2's has not.

The newer Unicode is the one inside PyPI's `tokenizers` (asked through its regular expressions), the older one is this
Python's `unicodedata`, which must be Unicode 14 (Python 3.11). Each character gets an older stand-in of the same category
and UTF-8 length that lies on the same side of every range that the pre-tokenizers name explicitly.

    python3 -m venv VENV && VENV/bin/pip install tokenizers && VENV/bin/python tools/tokenizers/newer_characters.py
"""

import pathlib
import re
import unicodedata

from tokenizers import Regex, pre_tokenizers

CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
              "Sm", "Sc", "Sk", "So"]
ROOT = pathlib.Path(__file__).resolve().parents[2]
CODES = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def members(category):
    """Code points of a category, as the reference sees it."""
    split = pre_tokenizers.Split(Regex(r"\p{%s}" % category), "removed")
    found = set()
    for at in range(0, len(CODES), 4096):
        block = CODES[at:at + 4096]
        kept = {ord(c) for piece, _ in split.pre_tokenize_str("".join(map(chr, block))) for c in piece}
        found.update(c for c in block if c not in kept)
    return found


def explicit_ranges():
    """The ranges of code points that the families' patterns name, for telling on which side a character lies."""
    source = (ROOT / "src/text/pre_tokenizer_families.cc").read_text()
    source = re.sub(r"\\u([0-9A-F]{4})", lambda m: chr(int(m[1], 16)), source)
    return [(ord(a), ord(b)) for a, b in re.findall(r"(.)-(.)", source) if ord(a) > 0x7F]


def main():
    assert unicodedata.unidata_version.startswith("14."), "needs a Python whose unicodedata is Unicode 14"
    ranges = explicit_ranges()
    sides = lambda c: tuple(a <= c <= b for a, b in ranges)
    length = lambda c: len(chr(c).encode())
    stand_ins, loose = {}, {}
    for c in CODES:
        category = unicodedata.category(chr(c))
        stand_ins.setdefault((category, length(c), sides(c)), c)
        loose.setdefault((category, length(c)), c)
    rows = []
    for category in CATEGORIES:
        for c in sorted(members(category)):
            if unicodedata.category(chr(c)) != "Cn":
                continue
            stand_in = stand_ins.get((category, length(c), sides(c))) or loose[(category, length(c))]
            rows.append((c, stand_in))
    rows.sort()
    merged = []
    for c, stand_in in rows:
        if merged and merged[-1][1] == c - 1 and merged[-1][2] == stand_in:
            merged[-1][1] = c
        else:
            merged.append([c, c, stand_in])
    items = [f"{{0x{a:04X}, 0x{b:04X}, 0x{s:04X}}}," for a, b, s in merged]
    lines = ["    " + " ".join(items[i:i + 4]) for i in range(0, len(items), 4)]
    path = ROOT / "src/text/newer_characters.cc"
    head, rest = path.read_text().split("constexpr NewerRange kRanges[] = {\n")
    path.write_text(head + "constexpr NewerRange kRanges[] = {\n" + "\n".join(lines) + "\n};\n" + rest.split("};\n", 1)[1])
    print(f"{len(rows)} characters in {len(merged)} ranges")


if __name__ == "__main__":
    main()
