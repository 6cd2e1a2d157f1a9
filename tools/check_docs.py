#!/usr/bin/env python3
"""Checks the documentation against the tree and the binary, and writes what of it is generated.

    tools/check_docs.py LOCI            fails and says FILE:LINE if a link or path leads nowhere or a generated part is stale
    tools/check_docs.py --write LOCI    brings the generated parts up to date
    tools/check_docs.py --self-test

LOCI is the built binary, whose --help texts make docs/commands.md. The table of tensor types in docs/formats/gguf.md comes
from src/tensor/dtype.cc.
"""

import difflib
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOP_FOLDERS = "bench cmake docs examples fuzz include lab models src tests tools data .ci".split()

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# `src/io/gguf_file.cc`, but not `src/<family>.cc` or `tests/NAME`: a name in capitals stands for many.
PATH = re.compile(r"`((?:" + "|".join(map(re.escape, TOP_FOLDERS)) + r")/[\w./*-]*)`")


def pages(root):
    return [path for path in [root / "README.md", *sorted(root.glob("docs/**/*.md")), *sorted(root.glob("bench/*.md")), *sorted(root.glob("lab/**/*.md"))]
            if path.is_file()]


def dead_links(root):
    for page in pages(root):
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            for target in LINK.findall(line):
                if "://" in target or target.startswith("#"):
                    continue
                if not (page.parent / target.split("#")[0]).exists():
                    yield f"{page.relative_to(root)}:{number}: the link to {target} leads nowhere"
            for name in PATH.findall(line):
                if not re.search(r"[A-Z]{3}", name.replace("README", "")) and not list(root.glob(name.rstrip("/"))):
                    yield f"{page.relative_to(root)}:{number}: there is no {name}"


def help_of(binary, *command):
    run = subprocess.run([binary, *command, "--help"], capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in run.stdout.replace(str(binary), "loci").strip().splitlines())


def subcommands(text):
    """Names in the list that follows the line "Subcommands:"."""
    found, inside = [], False
    for line in text.splitlines():
        if re.match(r"\s*(Subcommands|Commands):", line, re.IGNORECASE):
            inside = True
        elif inside and (match := re.match(r"  ([a-z][\w-]*)(\s|$)", line)):
            found.append(match.group(1))
        elif inside and line and not line.startswith(" "):
            break
    return found


def commands_page(binary):
    overview = help_of(binary)
    parts = ["# Commands", "", "Written by `tools/check_docs.py --write` from the binary's own help.", ""]

    def add(title, text):
        parts.extend([f"## {title}", "", "```", text, "```", ""])

    add("loci", overview)
    for name in subcommands(overview):
        text = help_of(binary, name)
        add(f"loci {name}", text)
        for inner in subcommands(text):
            add(f"loci {name} {inner}", help_of(binary, name, inner))
    return "\n".join(parts)


TYPE = re.compile(r'\{DType::k\w+, (\d+), \{"(\w+)", (\d+), (\d+)(?:, (\d+))?\}')


def type_table(source):
    rows = ["| type | number in the file | numbers in a block | bytes in a block | before a row | bits a weight |", "|---|---|---|---|---|---|"]
    for number, name, elements, size, header in TYPE.findall(source):
        rows.append(f"| `{name}` | {number} | {elements} | {size} | {header or 0} | {8 * int(size) / int(elements):.4g} |")
    if len(rows) == 2:
        raise ValueError("src/tensor/dtype.cc holds no table that tools/check_docs.py can read: mend TYPE there")
    return "\n".join(rows)


def with_block(page, name, block):
    """`page` with what lies between the markers of `name` replaced."""
    begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
    if begin not in page or end not in page:
        raise ValueError(f"the page has no markers for '{name}'")
    return page[:page.index(begin) + len(begin)] + block + page[page.index(end):]


def generated(root, binary):
    """{page: what it should say}."""
    formats = root / "docs/formats/gguf.md"
    return {
        root / "docs/commands.md": commands_page(binary),
        formats: with_block(formats.read_text(), "types", type_table((root / "src/tensor/dtype.cc").read_text())),
    }


def stale(root, binary):
    for page, wanted in generated(root, binary).items():
        actual = page.read_text() if page.exists() else ""
        if actual != wanted:
            yield f"{page.relative_to(root)}:1: is stale; run tools/check_docs.py --write {binary}"
            yield from list(difflib.unified_diff(actual.splitlines(), wanted.splitlines(), "as it is", "as generated", "", "", 1))[:20]


class SelfTest(unittest.TestCase):
    def test_dead_link_and_path_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "src/io").mkdir(parents=True)
            (root / "src/io/a.cc").touch()
            (root / "README.md").write_text(
                "[a](src/io/a.cc) [b](docs/gone.md) [c](http://x.y/z)\n`src/io/a.cc` `src/io/*.cc` `src/NAME/x.cc` `src/gone.cc`\n")
            self.assertEqual(["README.md:1: the link to docs/gone.md leads nowhere", "README.md:2: there is no src/gone.cc"],
                             list(dead_links(root)))

    def test_subcommands_are_found(self):
        self.assertEqual(["run", "eval"], subcommands("Usage\nOptions:\n  -h x\nSubcommands:\n  run   does\n      more\n  eval  is\n"))

    def test_type_table(self):
        self.assertIn("| `q4_0` | 2 | 32 | 18 | 0 | 4.5 |", type_table('{DType::kQ4_0, 2, {"q4_0", 32, 18}, decode},'))
        self.assertRaises(ValueError, type_table, "nothing")

    def test_block_is_replaced(self):
        self.assertEqual("a\n<!-- begin t -->\nnew\n<!-- end t -->\nb", with_block("a\n<!-- begin t -->\nold\n<!-- end t -->\nb", "t", "new"))
        self.assertRaises(ValueError, with_block, "a", "t", "new")


def main(arguments):
    if arguments == ["--self-test"]:
        return 0 if unittest.main(argv=[sys.argv[0]], exit=False).result.wasSuccessful() else 1
    if arguments[:1] == ["--write"]:
        for page, text in generated(ROOT, pathlib.Path(arguments[1]).resolve()).items():
            page.write_text(text)
        return 0
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    found = list(dead_links(ROOT)) + list(stale(ROOT, pathlib.Path(arguments[0]).resolve()))
    print("\n".join(found) if found else "the documentation's links, paths and generated parts are in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
