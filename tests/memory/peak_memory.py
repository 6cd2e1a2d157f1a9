#!/usr/bin/env python3
"""Compares the peak memory of `loci run` with what `loci plan` says. Standard library only.

    python3 tests/memory/peak_memory.py --loci build/cpu/loci MODEL...

For every store: the peak resident set of a run that reads about 8,000 tokens of a novel in a context of 8,192 is at most the
plan's total plus 64 MiB. Exit status 1 names what exceeded it.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

BOOK = pathlib.Path(__file__).resolve().parents[2] / "data" / "books" / "moby-dick.txt"
CONTEXT, PROMPT, NEW, SLACK = 8192, 8000, 8, 64 << 20


def loci(binary, *arguments):
    done = subprocess.run([binary, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"loci {' '.join(arguments)}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


def document(binary, model, folder):
    """The beginning of the book that has about PROMPT tokens."""
    path, text = os.path.join(folder, "document.txt"), BOOK.read_text(encoding="utf-8")
    sample = text[: 4 * PROMPT]
    for _ in range(3):
        with open(path, "w", encoding="utf-8") as file:
            file.write(sample)
        tokens = len(loci(binary, "tokenize", "-m", model, "-f", path, "--json")["ids"])
        if PROMPT - 100 <= tokens <= PROMPT:
            break
        sample = text[: len(sample) * (PROMPT - 50) // tokens]
    return path


def peak(binary, *arguments):
    process = subprocess.Popen([binary, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"loci {' '.join(arguments)}: status {status}: {output.decode()[-300:]}")
    return json.loads(output), usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loci", required=True)
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    exceeded = 0
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            path = document(options.loci, model, folder)
            for store in ("kv16", "kv8", "kv4"):
                shared = ["-m", model, "--ctx", str(CONTEXT), "--attention", f"store={store}", "--json"]
                plan = loci(options.loci, "plan", *shared)["total_bytes"]
                result, used = peak(options.loci, "run", *shared, "--raw", "-f", path, "-p", " The", "-n", str(NEW))
                fits = used <= plan + SLACK
                exceeded += not fits
                print(f"{model:10} {store}  {result['prompt_tokens']} tokens  plan {plan / 2**20:7.1f} MiB  peak {used / 2**20:7.1f} MiB"
                      f"  {'ok' if fits else 'EXCEEDED'}")
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
