#!/usr/bin/env python3
"""Writes evaluate.py's prompts as questions for `loci eval --suite jsonl:FILE`, so that plans and an independent implementation of the
methods can be asked the same. Without a card; needs numpy and tokenizers.

    prompts.py --data TOK --task vt --length 16384 --count 24 > vt.jsonl
    loci eval --suite jsonl:vt.jsonl --jsonl-prompt '{context}' --jsonl-score all --jsonl-tokens 60 --lengths 16k --prompts 24 \\
        --plans dense 'duo(ratio=0.25,sinks=4,window=256)' -m needle

TOK holds tokenizer.json and words.json, as books.py writes them. --novel: for niah_single_2, niah_multikey_1, niah_multivalue and
niah_multiquery. Room for the answer (--jsonl-tokens) stands in each line as "tokens".
"""

import argparse
import json

import evaluate


ESSAYS = ("niah_single_2", "niah_multikey_1", "niah_multivalue", "niah_multiquery")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True, help="folder with tokenizer.json and words.json")
    arguments.add_argument("--task", required=True, choices=evaluate.TASKS)
    arguments.add_argument("--length", type=int, default=16384, help="tokens of prompt and answer")
    arguments.add_argument("--count", type=int, default=24)
    arguments.add_argument("--novel", help="a text to hide facts in")
    options = arguments.parse_args()
    if options.task in ESSAYS and options.novel is None:
        arguments.error(f"{options.task} hides facts in an essay: give a text with --novel")
    evaluate.init(options.data, options.novel)
    for index in range(options.count):
        text, answers, tokens = evaluate.prompt((options.task, options.length, index, options.count))
        print(json.dumps({"context": text, "input": "", "answers": answers, "tokens": tokens}))


if __name__ == "__main__":
    main()
