"""The pre-tokenizer families as their models' own tokenizer.json files define them, for PyPI's `tokenizers`.

The names are those of GGUF's `tokenizer.ggml.pre`. Nothing here is shared with the C++ code: it is what that is compared to.
"""

from tokenizers import Regex, normalizers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Punctuation, Sequence, Split

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + r"+|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER +
          r"*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CLITICS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+" + CLITICS + r"|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*" + CLITICS +
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CASED = (r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-" "\u1f7d" r"ᾀ-ᾴᾶ-ᾼ" "\u1fbe" r"ῂ-ῄῆ-ῌῐ-" "\u1fd3" r"ῖ-" "\u1fdb" r"ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ"
         "\u2126" "ℨ" "\u212a" r"-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+")
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern):
    return Split(Regex(pattern), behavior="isolated", invert=False)


def raw_bytes():
    return ByteLevel(add_prefix_space=False, use_regex=False)


def gpt2():
    return ByteLevel(add_prefix_space=False, use_regex=True)


def digits():
    return Digits(individual_digits=True)


FAMILIES = {
    "llama-bpe": lambda: Sequence([split(LLAMA3), raw_bytes()]),
    "dbrx": lambda: Sequence([split(LLAMA3), raw_bytes()]),
    "gpt-2": gpt2,
    "qwen2": lambda: Sequence([split(QWEN2), raw_bytes()]),
    "deepseek-r1-qwen": lambda: Sequence([split(QWEN2), raw_bytes()]),
    "smollm": lambda: Sequence([digits(), gpt2()]),
    "starcoder": lambda: Sequence([digits(), gpt2()]),
    "command-r": lambda: Sequence([digits(), gpt2()]),
    "falcon": lambda: Sequence([Punctuation("contiguous"), gpt2(), Digits(individual_digits=False), split("[0-9][0-9][0-9]")]),
    "deepseek-llm": lambda: Sequence([split(r"[\r\n]"), split(CASED), split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"),
                                      split(r"\s+$"), split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), digits(), raw_bytes()]),
    "deepseek-coder": lambda: Sequence([split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
                                        split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), digits(), raw_bytes()]),
    "deepseek-v3": lambda: Sequence([split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(DEEPSEEK3), raw_bytes()]),
    "tekken": lambda: Sequence([split(TEKKEN), raw_bytes()]),
    "gpt-4o": lambda: Sequence([split(GPT4O), raw_bytes()]),
    # No model's own: the patterns that llama.cpp applies where a file names "default".
    "default": lambda: Sequence([split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"), split("[0-9][0-9][0-9]"), raw_bytes()]),
}
NFC = {"qwen2", "command-r"}
IGNORE_MERGES = {"llama-bpe", "tekken"}


def normalizer(family):
    return normalizers.NFC() if family in NFC else None
