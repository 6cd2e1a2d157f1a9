#!/usr/bin/env python3
"""Runs clang-tidy with the checks of .clang-tidy over every source that a build folder compiles.

    tools/tidy.py BUILD [PATTERN]     only the files whose path matches PATTERN (a regular expression)

A clean file is remembered in BUILD/tidy and skipped until it, a header it includes, or .clang-tidy changes.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def compiled_sources(build, pattern):
    """{source: object file} of the project's own sources."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["file"])
        output = re.search(r" -o (\S+)", entry["command"])
        if source.is_relative_to(ROOT) and not source.is_relative_to(build) and output:
            if source.suffix == ".cc" and re.search(pattern, str(source.relative_to(ROOT))):
                found[source] = output.group(1)
    return found


def dependencies(build):
    """{object file: newest change of anything it was compiled from}, as ninja recorded it."""
    listing = subprocess.run(["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True, check=True).stdout
    newest, target = {}, None
    for line in listing.splitlines():
        if line.startswith(" "):
            path = build / line.strip()
            if target and path.exists():
                newest[target] = max(newest[target], path.stat().st_mtime)
        elif ": #deps" in line:
            target = line.split(":")[0]
            newest[target] = 0
    return newest


def stamp_of(build, source):
    return build / "tidy" / (str(source.relative_to(ROOT)).replace("/", "-") + ".clean")


def check(build, source):
    run = subprocess.run(["clang-tidy", "--quiet", "--extra-arg=-Wno-unknown-warning-option", "-p", build, source], capture_output=True, text=True)
    if run.returncode == 0:
        stamp = stamp_of(build, source)
        stamp.parent.mkdir(exist_ok=True)
        stamp.touch()
        return ""
    return run.stdout + "\n".join(line for line in run.stderr.splitlines() if "warnings generated" not in line)


def main(build, pattern="."):
    build = pathlib.Path(build).resolve()
    changed = dependencies(build)
    settings = (ROOT / ".clang-tidy").stat().st_mtime
    work = []
    for source, output in sorted(compiled_sources(build, pattern).items()):
        stamp = stamp_of(build, source)
        newest = max(settings, source.stat().st_mtime, changed.get(output, float("inf")))
        if not stamp.exists() or stamp.stat().st_mtime <= newest:
            work.append(source)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for number, (source, complaint) in enumerate(zip(work, pool.map(lambda s: check(build, s), work)), start=1):
            print(f"[{number}/{len(work)}] clang-tidy {source.relative_to(ROOT)}", flush=True)
            if complaint:
                failed += 1
                print(complaint, flush=True)
    print(f"clang-tidy: {len(work) - failed} files clean, {failed} with complaints")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
