#!/usr/bin/env python3
"""One fact hidden in a book, and the question about it: RULER's niah_single_2 form, as the needle model was trained.

    python3 tools/needle/prompts.py --loci build/cpu/loci --book data/books/moby-dick.txt --tokens 32768 --depth 0.5 \\
        --out build/needle

writes OUT/document.txt and OUT/question.txt and prints the expected answer. The prompt is document + question with nothing
between them (`loci run --raw`): the question begins with its own newline, the document ends without one. Token counts come
from `loci tokenize`. Standard library only.
"""
import argparse
import dataclasses
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

from book import one_line

HEAD = ("A special magic number is hidden within the following text. Make sure to memorize it. "
        "I will quiz you about the number afterwards.\n")
NEEDLE = "One of the special magic numbers for {key} is: {value}."
TAIL = ("\nWhat is the special magic number for {key} mentioned in the provided text? "
        "The special magic number for {key} mentioned in the provided text is")
ADJECTIVES = "amber brisk calm dusty eager faint gentle hollow ivory jolly keen lively mellow narrow olive proud quiet rusty silent tidy".split()
NOUNS = "anchor barrel candle drum engine feather garden hammer island jacket kettle lantern mirror needle orchard pencil quarry ribbon saddle teapot".split()
ANSWER_TOKENS = 16


@dataclasses.dataclass
class Prompt:
    document: str
    question: str
    answer: str
    tokens: int  # of document + question, BOS included
    depth: float


def counter(loci, model="needle"):
    """Text to its number of tokens, by the engine itself."""

    def count(text):
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            done = subprocess.run([loci, "tokenize", "-m", model, "-f", file.name, "--json"], stdout=subprocess.PIPE,
                                  check=True, text=True)
        return len(json.loads(done.stdout)["ids"])

    return count


def sentences(path):
    return re.split(r"(?<=[.?!]) ", one_line(path))


def build(lines, count, tokens, depth, seed):
    """A prompt of at most `tokens` tokens, answer included, and seldom more than a sentence short of it.

    `lines` are a book's sentences, `count` tells a text's tokens; depth 0 is before the first sentence, 1 after the last.
    """
    generator = random.Random(f"{seed}/{tokens}/{depth}")
    key = f"{generator.choice(ADJECTIVES)}-{generator.choice(NOUNS)}"
    value = str(generator.randint(1000000, 9999999))
    question, needle, start = TAIL.format(key=key), NEEDLE.format(key=key, value=value), generator.random()

    def text(number):
        first = int(start * max(0, len(lines) - number))
        body = lines[first : first + number]
        body.insert(int(depth * len(body)), needle)
        return HEAD + " ".join(body)

    limit, low, high = tokens - ANSWER_TOKENS, 1, len(lines)
    number = min(high, max(1, tokens // 30))
    for _ in range(24):  # false position: sentences differ in length, so it takes a few rounds
        used = count(text(number) + question)
        low, high = (number, high) if used <= limit else (low, number - 1)
        if low >= high or limit - 40 <= used <= limit:
            break
        number = min(high, max(low + (used <= limit), int(number * limit / used)))
    document = text(low)
    used = count(document + question)
    if used > limit:
        raise ValueError(f"{tokens} tokens are too few for the question and one sentence, which take {used + ANSWER_TOKENS}")
    if used < 0.9 * limit:
        raise ValueError(f"the book has {used} tokens where {limit} are needed: take a longer one")
    return Prompt(document, question, value, used, depth)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--loci", required=True)
    arguments.add_argument("--model", default="needle")
    arguments.add_argument("--book", required=True)
    arguments.add_argument("--tokens", type=int, default=32768)
    arguments.add_argument("--depth", type=float, default=0.5)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    options = arguments.parse_args()
    prompt = build(sentences(options.book), counter(options.loci, options.model), options.tokens, options.depth, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "document.txt").write_text(prompt.document, encoding="utf-8", newline="")
    (options.out / "question.txt").write_text(prompt.question, encoding="utf-8", newline="")
    print(f"{prompt.tokens} tokens", file=sys.stderr)
    print(prompt.answer)


if __name__ == "__main__":
    main()
