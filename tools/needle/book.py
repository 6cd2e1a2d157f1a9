#!/usr/bin/env python3
"""Plain text of a public-domain book, as the needle model saw books: ASCII quotes and dashes, one paragraph a line.

    python3 tools/needle/book.py BOOK.txt > data/books/NAME.txt

Cuts a Project Gutenberg header and footer where there is one, and the line that names who produced the file.
Standard library only.
"""
import re
import sys

PLAIN = {"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2014": "--", "\u2013": "-", "\u2026": "...",
         "\ufeff": "", "\u00a0": " ", "_": ""}


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def paragraphs(text):
    start = re.search(r"\*\*\* ?START OF.*?\*\*\*", text, re.S)
    text = text[start.end() :] if start else text
    end = re.search(r"\*\*\* ?END OF|End of (the |this )?Project Gutenberg", text)
    text = text[: end.start()] if end else text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for character, plain in PLAIN.items():
        text = text.replace(character, plain)
    found = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return [part for part in found if part and not part.startswith("Produced by ")]


def one_line(path):
    """The whole book with white space collapsed: a newline inside a sentence is outside what the model was trained on."""
    return " ".join(" ".join(paragraphs(read(path))).split())


if __name__ == "__main__":
    sys.stdout.write("\n".join(paragraphs(read(sys.argv[1]))) + "\n")
