#!/usr/bin/env python3
"""stories260K, greedy from BOS, tells the story its fp32 reference tells. Standard library only.

    python3 tests/parity/stories.py --loci build/cpu/loci
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--loci", required=True)
    loci = arguments.parse_args().loci
    golden = (ROOT / "tests/data/parity/stories.txt").read_text(encoding="utf-8")
    command = [loci, "run", "-m", str(ROOT / "models/stories260k.gguf"), "--raw", "-p", "", "-n", "200", "--temp", "0",
               "--activations", "f32", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    try:
        result = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"{' '.join(command)} printed no JSON: {done.stdout[:200]!r}")
    story = result["text"].lstrip(" ")
    if story != golden:
        same = next((i for i, (a, b) in enumerate(zip(story, golden)) if a != b), min(len(story), len(golden)))
        sys.exit(f"the story leaves the golden at character {same}: ...{story[max(0, same - 30) : same + 30]!r}, "
                 f"golden ...{golden[max(0, same - 30) : same + 30]!r}")
    if result["generated_tokens"] != 200:
        sys.exit(f"generated_tokens is {result['generated_tokens']}, 200 are expected")
    print("ok")


if __name__ == "__main__":
    main()
