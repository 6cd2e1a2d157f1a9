#!/usr/bin/env python3
"""How often the needle model finds the hidden number, and how fast. Standard library only.

    python3 tools/needle/run.py --loci build/cpu/loci --lengths 16384 --prompts 12 --plans dense,store=kv4
    python3 tools/needle/run.py --loci build/cpu/loci --lengths 131072 --prompts 3 --books a.txt,b.txt --json

Depths run evenly from 0 to 1, books take turns. Exit status 1 if a prompt was answered wrong.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from prompts import ANSWER_TOKENS, build, counter, sentences

ROOT = pathlib.Path(__file__).resolve().parents[2]


def ask(options, prompt, plan, folder):
    document = pathlib.Path(folder) / "document.txt"
    document.write_text(prompt.document, encoding="utf-8", newline="")
    command = [options.loci, "run", "-m", options.model, "--raw", "-f", str(document), "-p", prompt.question, "-n",
               str(ANSWER_TOKENS), "--temp", "0", "--attention", plan, "--threads", str(options.threads), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"loci run, plan {plan}: status {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    result = json.loads(done.stdout)
    if result["prompt_tokens"] != prompt.tokens:
        sys.exit(f"the prompt has {result['prompt_tokens']} tokens, document and question together {prompt.tokens}")
    return result


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--loci", required=True)
    arguments.add_argument("--model", default="needle")
    arguments.add_argument("--books", default=str(ROOT / "data/books/moby-dick.txt"), help="text files, comma between them")
    arguments.add_argument("--lengths", default="16384")
    arguments.add_argument("--plans", default="dense")
    arguments.add_argument("--prompts", type=int, default=12, help="per length and plan")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    books = [(path, sentences(path)) for path in options.books.split(",")]
    count, rows = counter(options.loci, options.model), []
    with tempfile.TemporaryDirectory() as folder:
        for length in map(int, options.lengths.split(",")):
            for index in range(options.prompts):
                book, lines = books[index % len(books)]
                depth = index / max(1, options.prompts - 1)
                prompt = build(lines, count, length, depth, f"{options.seed}/{index}")
                for plan in re.split(r",(?![^(]*\))", options.plans):  # commas inside parentheses belong to a plan
                    result = ask(options, prompt, plan, folder)
                    rows.append({"length": length, "plan": plan, "book": pathlib.Path(book).stem, "depth": round(depth, 3),
                                 "hit": prompt.answer in result["text"], "answer": prompt.answer,
                                 **{k: result[k] for k in ("text", "prompt_tokens", "prefill_tok_s", "decode_tok_s", "kv_bytes")}})
                    if not options.json:
                        print(line(rows[-1]), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        summary(rows)
    sys.exit(0 if all(row["hit"] for row in rows) else 1)


def line(row):
    verdict = "found" if row["hit"] else f"MISSED: {row['text']!r}, not {row['answer']}"
    return (f"{row['prompt_tokens']:7d} {row['plan']:12s} {row['book']:16s} depth {row['depth']:.2f}  "
            f"prefill {row['prefill_tok_s']:8.1f}  decode {row['decode_tok_s']:7.1f} tok/s  {row['kv_bytes'] / 2**20:8.1f} MiB  {verdict}")


def summary(rows):
    print()
    for key in dict.fromkeys((row["length"], row["plan"]) for row in rows):
        same = [row for row in rows if (row["length"], row["plan"]) == key]
        mean = lambda name: sum(row[name] for row in same) / len(same)
        print(f"{key[0]:7d} {key[1]:12s} {sum(row['hit'] for row in same):3d} of {len(same):3d} found, "
              f"prefill {mean('prefill_tok_s'):.1f}, decode {mean('decode_tok_s'):.1f} tok/s")


if __name__ == "__main__":
    main()
