"""Writes the prompts that tests of the suites compare with: the published algorithms, typed anew, on CPython's and numpy's
generators. Run with CPython 3.11 and numpy 2.4: python3 make_fixtures.py FOLDER"""

import json
import pathlib
import random
import sys

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"


def infinitebench():
    """construct_synthetic_dataset.py of OpenBMB/InfiniteBench: build_passkey and build_number_string, one sample a seed."""
    cases = []
    for seed, lines, before in ((1, 6, 0), (20240221, 9, 4), (77, 5, 5)):
        for task in ("passkey_line", "number_string"):
            random.seed(seed)
            keys = [str(random.randint(0, 9)) for _ in range(5)]
            if task == "number_string":
                for k in range(5):
                    pos = random.randint(0, 5 + k - 1)
                    keys.insert(pos, keys[pos])
                needle = "The sequence of digits is {key}. Remember it. {key} is the sequence of digits.\n"
            else:
                needle = "The pass key is {key}. Remember it. {key} is the pass key.\n"
            key = "".join(keys)
            context = NOISE * before + needle.replace("{key}", key) + NOISE * (lines - before)
            cases.append({"task": task, "sample_seed": seed, "units": lines, "depth": before / lines,
                          "context": context, "answers": [key]})
    return cases


FIRST = ["Aaron", "Bella", "Carl", "Diana", "Edgar", "Fiona", "George", "Hannah", "Ivan", "Julia", "Karen", "Leon",
         "Martha", "Nathan", "Olivia", "Peter", "Quentin", "Rose", "Samuel", "Tina", "Ursula", "Victor", "Wendy", "Xavier",
         "Yvonne"]
LAST = ["Abbott", "Barnes", "Carver", "Dalton", "Emerson", "Fletcher", "Graham", "Harris", "Ingram", "Jensen", "Keller",
        "Lawson", "Morgan", "Norris", "Osborne", "Palmer", "Reeves", "Sutton", "Turner", "Walsh"]
TERMS = {"father": 1, "mother": 1, "dad": 1, "mom": 1, "grandfather": 2, "grandmother": 2, "maternal grandmother": 2,
         "maternal grandfather": 2, "paternal grandfather": 2, "paternal grandmother": 2}
LINKS = ["{A} is {B}'s {R}.", "{B}'s {R} is {A}.", "{A}, as {B}'s {R}, has a significant impact on {B}'s upbringing.",
         "{A} is not only {B}'s {R} but also {B}'s role model.",
         "During {B}'s upbringing, {A} was not only {B}'s {R}, but also {B}'s guardian.",
         "For {B}, {A} is not just a {R}, but also a friend.",
         "For {B}, {A} is more than just a {R}; {A} is a lifelong mentor of {B}."]


def chain(seed, links):
    """get_random_needles and load of multi.py and atc.py (open-compass/opencompass, needlebench_v2)."""
    names = [f"{a} {b}" for a in FIRST for b in LAST]
    random.seed(seed)
    people = random.sample(names, links + 1)
    story, generations = [], 0
    for older, younger in zip(people, people[1:]):
        link = random.choice(LINKS)
        term = random.choice(list(TERMS))
        story.append(link.format(A=older, B=younger, R=term))
        generations += TERMS[term]
    random.shuffle(story)
    return people, story, generations


def spread(words, needles, depth):
    """_generate_context of multi.py, on words in place of tokens."""
    sizes = [len(needle.split(" ")) for needle in needles]
    points = []
    for i in range(len(needles)):
        point = int(len(words) * (depth / 100)) if i == 0 else int(points[i - 1] + sizes[i - 1] + len(words) * (10 / 100))
        points.append(min(point, len(words) + sum(sizes[:i])))
    for i, needle in enumerate(needles):
        words = words[:points[i]] + needle.split(" ") + words[points[i]:]
        for j in range(i + 1, len(points)):
            points[j] += sizes[i]
    return " ".join(words)


def needlebench():
    words = [f"w{i}" for i in range(60)]
    cases = []
    for seed, links in ((1, 2), (9, 3), (77, 5), (30001, 16)):
        people, story, generations = chain(seed, links)
        case = {"sample_seed": seed, "links": links, "eldest": people[0], "youngest": people[-1], "story": "".join(story),
                "generations": generations}
        if links <= 5:
            case["documents"] = [{"depth": depth, "text": spread(words, [f"\n{s}\n" for s in story], depth)}
                                 for depth in (0, 50, 90)]
        cases.append(case)
    return {"essay": " ".join(words), "cases": cases}


def pi_llm():
    """pseudo_randomize of pi_flow_upgrade.py (zhuangziGiantfish/Unable-to-Forget)."""

    def shuffled(pairs):
        left = pairs.copy()
        random.shuffle(left)
        result = [left.pop()]
        while left:
            candidates = [i for i, pair in enumerate(left) if pair[0] != result[-1][0]]
            if not candidates:
                return shuffled(pairs)
            result.append(left.pop(random.choice(candidates)))
        return result

    cases = []
    for seed, keys, updates in ((1, 2, 2), (2, 2, 9), (3, 5, 4), (20250610, 46, 3)):
        random.seed(seed)
        pairs = [(key, f"v{key}.{u}") for key in range(keys) for u in range(updates)]
        cases.append({"seed": seed, "keys": keys, "updates": updates, "stream": shuffled(pairs)})
    return cases


def mqar():
    """multiquery_ar and forgetting_mqar (HazyResearch/zoology) of one example without random filler."""
    import numpy as np

    cases = []
    for seed, vocabulary, length, share, updated in ((3, 64, 32, 4, 0), (41, 8192, 128, 4, 0), (7, 8192, 64, 16, 0),
                                                     (5, 8192, 160, 8, 0.5)):
        pairs = length // share
        updates = int(updated * pairs)
        np.random.seed(seed)
        keys = np.random.choice(np.arange(1, vocabulary // 2), replace=False, size=pairs)
        values = np.random.choice(np.arange(vocabulary // 2, vocabulary), replace=False, size=pairs)
        kvs = [int(x) for pair in zip(keys, values) for x in pair]
        final = values.copy()
        if updates:
            all_values = np.arange(vocabulary // 2, vocabulary)
            fresh = [np.random.choice(all_values[all_values != values[j]]) for j in range(updates)]
            places = np.random.choice(pairs, size=updates, replace=False)
            for j, place in enumerate(places):
                final[place] = fresh[j]
                kvs += [int(keys[place]), int(fresh[j])]
        space = (length - len(kvs)) // 2
        p = 0.01 * np.arange(1, space + 1) ** (0.01 - 1)
        gaps = np.random.choice(np.arange(space), replace=False, p=p / p.sum(), size=pairs)
        tokens = kvs + [0] * (length - len(kvs))
        labels = []
        for gap, key, value in zip(gaps, keys, final):
            tokens[len(kvs) + 2 * int(gap)] = int(key)
            labels.append([len(kvs) + 2 * int(gap), int(value)])
        cases.append({"sample_seed": seed, "vocabulary": vocabulary, "tokens_per_pair": share, "updated": updated,
                      "context": len(kvs), "tokens": tokens, "queries": sorted(labels)})
    return cases


def sort():
    """sample_random_text and sample_segments_sentence_start_bins of text_utils.py (bridge-ai-neuro/SORT)."""
    import numpy as np

    def ends(word):
        return word.lower() not in ("mr.", "mrs.", "dr.") and len({".", "?", "!", ";"} & set(word)) > 0

    book = pathlib.Path(__file__).resolve().parents[3] / "data/books/moby-dick.txt"
    words = book.read_text().split()
    cases = []
    for seed, excerpt, segment, bin_ in ((1, 250, 20, 0), (2, 250, 50, 1), (3, 1000, 20, 2), (4, 2500, 50, 3),
                                         (5, 10000, 50, 0), (6, 20000, 20, 2)):
        far = int(excerpt / 1.25)
        edges = ([segment, excerpt // 4, excerpt // 3, excerpt // 2, far] if excerpt < 5000
                 else [segment, 1000, excerpt // 4, excerpt // 2, far])
        low, high = edges[bin_], edges[bin_ + 1]
        np.random.seed(seed)
        start = np.random.choice(range(0, len(words) - excerpt), replace=False)
        while start > 0 and not ends(words[start - 1]):
            start -= 1
        text = words[start:start + excerpt]
        starts = np.insert(np.array([i + 1 for i, w in enumerate(text) if ends(w)]), 0, [0])
        starts = starts[starts < len(text) - segment]
        while True:
            one = np.random.choice(starts, replace=False)
            offsets = starts - one
            offsets = offsets[offsets != 0]
            good = offsets[(abs(offsets) > low) & (abs(offsets) <= high)]
            if len(good) > 0:
                other = one + np.random.choice(good)
                break
        first, second = sorted((int(one), int(other)))
        cases.append({"sample_seed": seed, "excerpt": excerpt, "segment": segment, "bin": bin_, "start": int(start),
                      "first": first, "second": second, "words": " ".join(text[first:first + 3])})
    return cases


def main():
    folder = pathlib.Path(sys.argv[1])
    for make in (infinitebench, needlebench, pi_llm, mqar, sort):
        text = json.dumps(make(), indent=1)
        (folder / f"{make.__name__}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
