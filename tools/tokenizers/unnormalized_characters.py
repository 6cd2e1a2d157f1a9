#!/usr/bin/env python3
"""Writes the table in src/text/unnormalized_characters.cc: characters that the reference's normal forms do not know.

PyPI's `tokenizers` normalizes by an older Unicode than utf8proc does: to it these characters have no decomposition and no
combining class. Found by asking both about every character, alone and between marks.

    python3 -m venv VENV && VENV/bin/pip install tokenizers && VENV/bin/python tools/tokenizers/unnormalized_characters.py
"""

import ctypes
import ctypes.util
import pathlib

from tokenizers import normalizers

PATH = pathlib.Path(__file__).resolve().parents[2] / "src/text/unnormalized_characters.cc"
STABLE, COMPAT, COMPOSE, DECOMPOSE = 1 << 1, 1 << 2, 1 << 3, 1 << 4
FORMS = [(normalizers.NFC(), STABLE | COMPOSE), (normalizers.NFD(), STABLE | DECOMPOSE),
         (normalizers.NFKC(), STABLE | COMPOSE | COMPAT), (normalizers.NFKD(), STABLE | DECOMPOSE | COMPAT)]
PAIRS = ["\U00011935\U00011930"]  # compose to a newer character


def ours(library, text, options):
    out = ctypes.POINTER(ctypes.c_uint8)()
    data = text.encode()
    length = library.utf8proc_map(data, ctypes.c_ssize_t(len(data)), ctypes.byref(out), options)
    result = bytes(out[:length]).decode()
    library.free_result(out)
    return result


def main():
    library = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
    library.utf8proc_map.restype = ctypes.c_ssize_t
    library.free_result = ctypes.CDLL(None).free
    library.free_result.argtypes = [ctypes.c_void_p]
    free = library.free_result
    library.free_result = lambda p: free(ctypes.cast(p, ctypes.c_void_p))
    found = {ord(c) for pair in PAIRS for c in pair}
    for code in range(0x80, 0x110000):
        if 0xD800 <= code <= 0xDFFF:
            continue
        c = chr(code)
        for reference, options in FORMS:
            if any(reference.normalize_str(t) != ours(library, t, options) for t in (c, "q\u0345" + c, "q" + c + "\u0334")):
                found.add(code)
    ranges = []
    for code in sorted(found):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    items = [f"{{0x{a:04X}, 0x{b:04X}}}," for a, b in ranges]
    lines = ["    " + " ".join(items[i:i + 6]) for i in range(0, len(items), 6)]
    head, rest = PATH.read_text().split("constexpr Range kRanges[] = {\n")
    PATH.write_text(head + "constexpr Range kRanges[] = {\n" + "\n".join(lines) + "\n};\n" + rest.split("};\n", 1)[1])
    print(f"{len(found)} characters in {len(ranges)} ranges")


if __name__ == "__main__":
    main()
