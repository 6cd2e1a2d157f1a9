#!/usr/bin/env python3
"""Books to clean text, the tokenizer of 4096 tokens trained on it, and all of it tokenised once. No card is needed.

    books.py BOOKS WORDS OUT

BOOKS holds the plain texts named below, as Project Gutenberg has them (its numbers are the files' names); WORDS is the folder
`assets` of the Python package wonderwords. Writes OUT/tokenizer.json (byte-level BPE, digits one by one), OUT/words.json and
OUT/books.npz (uint16 tokens, and where each book begins).
"""

import json
import os
import re
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "needle"))
from book import PLAIN, read  # noqa: E402

VOCABULARY = 4096
FILES = (
    "war-and-peace.txt",
    "moby-dick.txt",
    "98.txt",  # A Tale of Two Cities
    "1399.txt",  # Anna Karenina
    "1023.txt",  # Bleak House
    "2554.txt",  # Crime and Punishment
    "766.txt",  # David Copperfield
    "996.txt",  # Don Quixote
    "345.txt",  # Dracula
    "1400.txt",  # Great Expectations
    "135.txt",  # Les Miserables
    "1342.txt",  # Pride and Prejudice
    "28054.txt",  # The Brothers Karamazov
    "4300.txt",  # Ulysses
    "599.txt",  # Vanity Fair
)
# Words of the prompts: they are to be few tokens each.
TEMPLATES = [
    "Some special magic numbers are hidden within the following text. Make sure to memorize it. I will quiz you about the numbers afterwards.\n",
    "A special magic uuid is hidden within the following text. Make sure to memorize it. I will quiz you about the uuid afterwards.\n",
    "What are all the special magic numbers for steady-fox mentioned in the provided text? The special magic numbers for",
    "One of the special magic uuids for is: ",
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\nVAR ABCDE = 12345\n",
    "Question: Find all variables that are assigned the value 12345 in the text above. Answer: According to the chain(s) of variable assignment in the text above, 5 variables are assigned the value 12345, they are: ",
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you about the important information there.\nThe pass key is 123. Remember it. 123 is the pass key.\nWhat is the pass key? The pass key is",
    'Extract the value corresponding to the specified key in the JSON object below.\n\nJSON data:\n{"a": "b", "c": "d"}\n\nKey: ""\nThe value associated with the specified key is: ',
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n",
    "Write a high-quality answer for the given question using only the provided search results (some of which might be irrelevant).\n\nQuestion: What is the special magic Paris number? Don't give information outside the document or repeat your findings. Keep your response short and direct. Answer: ",
    "The sequence of digits is 12. Remember it. 12 is the sequence of digits.\n",
]


def clean(text):
    """Without Gutenberg's header and footer, quotes and dashes in ASCII."""
    start = re.search(r"\*\*\* ?START OF.*?\*\*\*", text, re.S)
    text = text[start.end() :] if start else text
    end = re.search(r"\*\*\* ?END OF|End of (the |this )?Project Gutenberg", text)
    text = text[: end.start()] if end else text
    for character, plain in PLAIN.items():
        text = text.replace(character, plain)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def collapse(text):
    return re.sub(r"\s+", " ", text).strip()


def paragraphs(text):
    return "\n".join(collapse(part) for part in re.split(r"\n\s*\n", text) if part.strip())


def read_words(path):
    with open(path, encoding="utf-8") as file:
        return [word.strip() for word in file if re.fullmatch(r"[a-z]+", word.strip())]


def train_tokenizer(texts, extra):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<|bos|>", "<|eos|>"],
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)

    def pieces():
        for text in texts:
            for i in range(0, len(text), 10000):
                yield text[i : i + 10000]
        yield from extra

    tokenizer.train_from_iterator(pieces(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", pair="<|bos|> $A $B", special_tokens=[("<|bos|>", 0)])
    return tokenizer


def tokenise(tokenizer, text):
    """Cut where sentences end, so that the parts' tokens are the text's."""
    sentences = re.split(r'(?<=[.?!]) (?=[A-Z"])', text)
    parts = [sentence if i == 0 else " " + sentence for i, sentence in enumerate(sentences)]
    chunks = ["".join(parts[i : i + 400]) for i in range(0, len(parts), 400)]
    ids = [i for encoded in tokenizer.encode_batch(chunks, add_special_tokens=False) for i in encoded.ids]
    return np.array(ids, dtype=np.uint16)


def main(books, words, out):
    os.makedirs(out, exist_ok=True)
    # Every other book keeps its paragraphs, a newline each; the others are one line, as RULER's essays are.
    texts = [clean(read(f"{books}/{name}")) for name in FILES]
    texts = [paragraphs(text) if i % 2 else collapse(text) for i, text in enumerate(texts)]
    adjectives, nouns = (read_words(f"{words}/{name}.txt") for name in ("adjectivelist", "nounlist"))
    with open(f"{out}/words.json", "w", encoding="utf-8") as file:
        json.dump({"adj": sorted(set(adjectives)), "noun": sorted(set(nouns))}, file)
    extra = TEMPLATES * 300 + [" " + w for w in adjectives] * 2 + [" " + w for w in nouns] + nouns
    tokenizer = train_tokenizer(texts, extra)
    tokenizer.save(f"{out}/tokenizer.json")
    tokens = [tokenise(tokenizer, text) for text in texts]
    np.savez_compressed(f"{out}/books.npz", t=np.concatenate(tokens), off=np.cumsum([0] + [len(part) for part in tokens]))
    count = sum(map(len, tokens))
    print(f"{len(FILES)} books, {count} tokens, {sum(map(len, texts)) / count:.2f} characters a token")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
