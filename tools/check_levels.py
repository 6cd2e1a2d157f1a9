#!/usr/bin/env python3
"""Checks the house rules that a compiler does not: who may include whom, how long a file may be, what it may not say.

    tools/check_levels.py [ROOT]     prints FILE:LINE: what is wrong, and fails if anything is
    tools/check_levels.py --self-test

Levels are those of docs/map.md. A file includes its own level or a lower one; folders of one level may use each other in one
direction only; headers never include each other in a ring.
"""

import pathlib
import re
import sys
import tempfile
import unittest

LEVELS = {
    "base": 1,
    "io": 2, "tensor": 2,
    "kernels": 3,
    "ops": 4, "cache": 4,
    "attention": 5,
    "model": 6, "text": 6,
    "engine": 7, "calibrate": 7, "dist": 7,
    "eval": 8, "serve": 8,
    "cli": 9,
}

# Public headers and the lowest level that may include each: the vocabulary belongs to everybody, the engine's API to those
# who implement or use the engine.
PUBLIC_HEADERS = {"result.h": 1, "types.h": 1, "loci.h": 7, "loci_c.h": 7}

MAX_LINES = 700

SOURCE_SUFFIXES = {".h", ".cc", ".cu", ".cuh", ".c"}
# Folders whose sources are checked. What is not under src/ or include/ stands above all levels.
SOURCE_FOLDERS = ("include", "src", "tests", "fuzz", "bench", "examples")

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')

# Places that exist on one machine only; /home/user is nobody's. The slash is apart from the words so that this file passes its
# own check.
MACHINE_PATH = re.compile(r"""(?:^|[\s"'(=:,`])/""" + r"(?!home/user\b)(?:work|home|root|tmp|mnt|Users)\b")
MACHINE_PATH_FOLDERS = SOURCE_FOLDERS + ("tools", "cmake", "docs", "lab", ".ci")
MACHINE_PATH_SUFFIXES = SOURCE_SUFFIXES | {".py", ".sh", ".cmake", ".md", ".txt", ""}


def sources(root, folders, suffixes):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts:
                yield path


def read_lines(path):
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def includes(path):
    """(line number, quoted name) of every #include "..."; those in <...> are the system's."""
    for number, line in enumerate(read_lines(path), start=1):
        if match := INCLUDE.match(line):
            yield number, match.group(1)


def module_of(root, path):
    """The module a source belongs to: src/io/gguf.cc and tests/io/gguf_test.cc belong to io; None for what has no level."""
    parts = path.relative_to(root).parts
    if parts[0] in ("src", "tests") and len(parts) > 2:
        return parts[1]
    return None


def level_problems(root):
    uses = {}  # (module, other module of its level) -> where
    for path in sources(root, SOURCE_FOLDERS, SOURCE_SUFFIXES):
        top = path.relative_to(root).parts[0]
        module = module_of(root, path)
        level = LEVELS.get(module) if module else None
        if top == "src" and level is None:
            yield path, 1, f"src/{module} has no level: give it one in tools/check_levels.py and docs/map.md"
            continue
        for number, name in includes(path):
            target, _, rest = name.partition("/")
            if target == "loci":
                yield from public_include_problems(path, number, rest, top, level)
            elif top in ("include", "examples"):
                yield path, number, f'"{name}" is not public: {top}/ includes only "loci/..." and the system\'s headers'
            elif target in LEVELS and level is not None:
                if LEVELS[target] > level:
                    yield path, number, f"{module} (level {level}) includes {name} of level {LEVELS[target]}"
                elif LEVELS[target] == level and target != module and top == "src":
                    uses.setdefault((module, target), (path, number))
    yield from mutual_use_problems(uses)


def public_include_problems(path, number, name, top, level):
    if name not in PUBLIC_HEADERS:
        yield path, number, f"include/loci/{name} is not a public header: name it in PUBLIC_HEADERS or move it to src/"
    elif top == "src" and level is not None and level < PUBLIC_HEADERS[name]:
        yield path, number, f"loci/{name} may be included from level {PUBLIC_HEADERS[name]} on, this is level {level}"


def mutual_use_problems(uses):
    """Folders of one level that use each other, directly or around a ring."""
    graph = {}
    for module, target in uses:
        graph.setdefault(module, set()).add(target)
    for (module, target), (path, number) in sorted(uses.items()):
        if module in reachable(graph, target):
            yield path, number, f"{module} and {target} are of one level and use each other: only one may use the other"


def reachable(graph, start):
    seen, left = set(), [start]
    while left:
        node = left.pop()
        if node not in seen:
            seen.add(node)
            left.extend(graph.get(node, ()))
    return seen


def header_ring_problems(root):
    graph, where = {}, {}
    for path in sources(root, ("include", "src", "tests"), {".h", ".cuh"}):
        for number, name in includes(path):
            for folder in ("src", "include", "tests"):
                if (root / folder / name).is_file():
                    target = root / folder / name
                    graph.setdefault(path, set()).add(target)
                    where[path, target] = number
    for path, target in sorted(where):
        if path in reachable(graph, target):
            yield path, where[path, target], f"a ring of includes leads back here through {target.relative_to(root)}"


def public_folder_problems(root):
    folder = root / "include"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in {f"loci/{name}" for name in PUBLIC_HEADERS}:
            yield path, 1, "include/ holds the public headers alone: name it in PUBLIC_HEADERS or move it to src/"


def length_problems(root):
    for path in sources(root, SOURCE_FOLDERS, SOURCE_SUFFIXES):
        count = len(read_lines(path))
        if count > MAX_LINES:
            yield path, MAX_LINES + 1, f"{count} lines, at most {MAX_LINES} are allowed: split it by purpose"


def machine_path_problems(root):
    files = list(sources(root, MACHINE_PATH_FOLDERS, MACHINE_PATH_SUFFIXES))
    files += [path for path in (root / "README.md", root / "CMakeLists.txt", root / "dev") if path.is_file()]
    for path in files:
        if "data" in path.relative_to(root).parts or "corpus" in path.relative_to(root).parts:
            continue
        for number, line in enumerate(read_lines(path), start=1):
            if MACHINE_PATH.search(line):
                yield path, number, f"names a place of one machine: {line.strip()[:80]}"


RULES = (level_problems, header_ring_problems, public_folder_problems, length_problems, machine_path_problems)


def problems(root):
    return [f"{path.relative_to(root)}:{line}: {text}" for rule in RULES for path, line, text in rule(root)]


class SelfTest(unittest.TestCase):
    """Each rule is shown a tree that breaks it, and one that does not."""

    def check(self, files):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in files.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return problems(root)

    def test_lower_and_own_levels_are_fine(self):
        self.assertEqual([], self.check({
            "src/ops/a.cc": '#include "base/x.h"\n#include "ops/a.h"\n#include "kernels/k.h"\n#include <vector>\n',
            "src/base/x.h": '#include "loci/types.h"\n',
            "tests/ops/a_test.cc": '#include "ops/a.h"\n#include "made/weights.h"\n',
            "include/loci/types.h": "#include <vector>\n",
        }))

    def test_higher_level_is_named_with_its_line(self):
        self.assertEqual(["src/base/x.h:2: base (level 1) includes io/gguf.h of level 2"],
                         self.check({"src/base/x.h": '\n#include "io/gguf.h"\n'}))

    def test_tests_may_not_reach_up_either(self):
        self.assertEqual(1, len(self.check({"tests/base/x_test.cc": '#include "engine/engine.h"\n'})))

    def test_unknown_module_is_named(self):
        self.assertIn("src/misc has no level", self.check({"src/misc/x.cc": ""})[0])

    def test_one_direction_within_a_level(self):
        one_way = {"src/ops/a.h": '#include "cache/c.h"\n'}
        self.assertEqual([], self.check(one_way))
        found = self.check(one_way | {"src/cache/b.h": '#include "ops/o.h"\n'})
        self.assertEqual(2, len(found))
        self.assertIn("use each other", found[0])

    def test_ring_of_headers(self):
        found = self.check({"src/base/a.h": '#include "base/b.h"\n', "src/base/b.h": '#include "base/a.h"\n'})
        self.assertEqual(2, len(found))
        self.assertIn("ring", found[0])

    def test_engine_api_is_for_the_top(self):
        self.assertEqual([], self.check({"src/cli/a.cc": '#include "loci/loci.h"\n'}))
        self.assertEqual(1, len(self.check({"src/io/a.cc": '#include "loci/loci.h"\n'})))

    def test_public_folder_holds_public_headers_alone(self):
        self.assertEqual(1, len(self.check({"include/loci/private.h": ""})))
        self.assertEqual(1, len(self.check({"include/loci/loci.h": '#include "engine/engine.h"\n'})))
        self.assertEqual(1, len(self.check({"examples/a.cc": '#include "base/error.h"\n'})))

    def test_length(self):
        self.assertEqual([], self.check({"src/base/x.cc": "\n" * MAX_LINES}))
        self.assertEqual(1, len(self.check({"src/base/x.cc": "\n" * (MAX_LINES + 1)})))

    def test_machine_paths(self):
        for folder in ("work", "tmp", "home"):
            line = f'open("/{folder}/x/model.gguf");\n'
            self.assertEqual(1, len(self.check({"src/base/x.cc": line})), line)
            self.assertEqual([], self.check({"src/base/x.cc": f'// a/{folder}/b, "{folder}/x" and http://x/{folder}/y\n'}))
        self.assertEqual([], self.check({"src/base/x.cc": '"/{}/user"\n'.format("home")}))


def main(arguments):
    if arguments == ["--self-test"]:
        return 0 if unittest.main(argv=[sys.argv[0]], exit=False).result.wasSuccessful() else 1
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parent.parent).resolve()
    found = problems(root)
    print("\n".join(found) if found else f"{root.name}: levels, lengths and paths are in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
