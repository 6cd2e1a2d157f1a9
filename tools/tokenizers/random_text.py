"""Random Unicode strings for comparing tokenizers: every kind of text that pre-tokenizers treat differently."""

import random

POOLS = {
    "ascii": [chr(c) for c in range(0x20, 0x7F)],
    "latin": [chr(c) for c in range(0xA0, 0x250)],
    "cyrillic": [chr(c) for c in range(0x400, 0x460)],
    "greek": [chr(c) for c in range(0x391, 0x3CA)],
    "cjk": [chr(c) for c in range(0x4E00, 0x4E80)] + list("龥龦国漢字仮名"),
    "kana": [chr(c) for c in range(0x3041, 0x30FF)],
    "hangul": [chr(c) for c in range(0xAC00, 0xAC60)] + [chr(c) for c in range(0x1100, 0x1200, 7)],
    "hebrew_arabic": [chr(c) for c in range(0x5D0, 0x5EB)] + [chr(c) for c in range(0x620, 0x660)],
    "indic_thai": [chr(c) for c in range(0x900, 0x980)] + [chr(c) for c in range(0xE01, 0xE3B)],
    "combining": [chr(c) for c in range(0x300, 0x370)] + ["\u200d", "\ufe0f", "\u20e3"],
    "spaces": list(" \t\n\r\v\f\x85\xa0\u1680\u2000\u2003\u2009\u2028\u2029\u202f\u205f\u3000\u180e\u200b\ufeff") + [" ", "\n", "\r\n"] * 4,
    "digits": list("0123456789") * 3 + list("٣४৫๖²³¹½Ⅷ①㊿𝟘𑁦"),
    "controls": [chr(c) for c in range(0x20)] + [chr(c) for c in range(0x7F, 0xA0)],
    "symbols": list("$+<=>^`|~€£∑→★♠©®™°¬¦§¶") + ["…", "—", "–", "‘", "’", "“", "”", "！", "。", "、", "（", "～"],
    "emoji": ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇫🇷", "☕", "1️⃣", "❤️", "🤷‍♀️"],
    "clitics": ["'s", "'S", "'t", "'re", "'VE", "'m", "'ll", "'D", "'ſ", "’s", "don't", "I'LL", "'tis"],
    "words": ["hello", "World", " the", " and", "The", "HTML", "camelCase", "snake_case", " whale", "Ahab", "x1y2", "\n\n", "  ", "   ", "    ",
              " a ", "http://", "// ", "/*", "*/", "café", "naïve", "e\u0301", "Å", "\u212b", "\u2126", "가", "\u1100\u1161"],
    "specials": ["<|bos|>", "<|eos|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<unk>", "<0x41>", "<|im_", "▁", "▁▁", "<eos>", "<start_of_turn>",
                 "[multimodal]", "Ġ", "Ċ", "<mask>"],
}


def any_character(rng):
    while True:
        c = rng.choice([rng.randrange(0x800), rng.randrange(0x10000), rng.randrange(0x110000)])
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def random_string(rng):
    """A few runs, each from one pool or from all of Unicode."""
    out = []
    for _ in range(rng.choice([1, 1, 2, 3, 5, 8, 13])):
        kind = rng.choice([*POOLS, "any"])
        length = rng.choice([1, 1, 2, 3, 4, 6, 10])
        out += [any_character(rng) if kind == "any" else rng.choice(POOLS[kind]) for _ in range(length)]
    return "".join(out)


def random_strings(count, seed):
    rng = random.Random(seed)
    return [random_string(rng) for _ in range(count)]
