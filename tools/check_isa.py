#!/usr/bin/env python3
"""Checks that no function compiled for AVX2, AVX-512 or AMX can stand in for its portable twin.

    tools/check_isa.py BUILD
    tools/check_isa.py --self-test

An inline function or template that a *_avx2.cc file uses is emitted there as a weak symbol. The linker keeps one copy of each
such symbol for the whole program: if it keeps that one, a machine without AVX2 stops at an illegal instruction in what looks
like plain code. Hence weak symbols of these objects must name a type of their own instruction set (namespace simd_avx2,
simd_avx512 or simd_amx), which makes them different symbols.
"""

import pathlib
import re
import subprocess
import sys
import unittest

ISAS = ("avx2", "avx512", "amx")
WEAK = re.compile(r"^[0-9a-f]* *([WVu]) (.+)$")
# The tool chain's own: exception personality references, sanitizer descriptors.
OWN = re.compile(r"^(DW\.ref\.|__|_ZTS|asan\.|ubsan\.|tsan\.)")


def shared_symbols(listing, isa):
    """Weak symbols in an `nm -C --defined-only` listing that other objects may define as well."""
    for line in listing.splitlines():
        if (match := WEAK.match(line)) and isa not in match.group(2) and not OWN.match(match.group(2)):
            yield match.group(2)


def main(build):
    objects = [(path, isa) for isa in ISAS for path in sorted(pathlib.Path(build).rglob(f"*_{isa}.cc.o"))]
    if not objects:
        print(f"check_isa: no objects of {', '.join(ISAS)} in {build}: build first")
        return 1
    bad = 0
    for path, isa in objects:
        listing = subprocess.run(["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True).stdout
        for symbol in shared_symbols(listing, isa):
            bad += 1
            print(f"{path.relative_to(build)}: {symbol} is weak and compiled for {isa}: give it internal linkage or a {isa} type")
    if not bad:
        print(f"{len(objects)} objects of AVX2, AVX-512 and AMX code share no function with portable code")
    return 1 if bad else 0


class SelfTest(unittest.TestCase):
    def test_shared_template_is_found(self):
        listing = ("0000000000000000 T loci::multiply(float*)\n"
                   "0000000000000000 W loci::fold<loci::simd_avx2::Vec16>(float*)\n"
                   "0000000000000000 W std::vector<float>::resize(unsigned long)\n"
                   "0000000000000000 V DW.ref.__gxx_personality_v0\n")
        self.assertEqual(["std::vector<float>::resize(unsigned long)"], list(shared_symbols(listing, "avx2")))

    def test_the_other_instruction_set_does_not_count(self):
        self.assertEqual(1, len(list(shared_symbols("00 W loci::fold<loci::simd_avx2::Vec16>()\n", "avx512"))))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--self-test":
        sys.exit(0 if unittest.main(argv=[sys.argv[0]], exit=False).result.wasSuccessful() else 1)
    sys.exit(main(sys.argv[1]))
