#!/usr/bin/env python3
"""What a plan must move and multiply, how long the machine's roof takes for that, and how long Loci took: docs/speed-of-light.md.

    tools/speed_of_light.py run --loci build/cpu/loci --minutes 30    measures what bench/results/speed_of_light lacks, plan by plan
    tools/speed_of_light.py page                                      writes docs/speed-of-light.md from these files
    tools/speed_of_light.py check                                     the page is up to date
    tools/speed_of_light.py --self-test

Plans are the leaderboard's (lab/leaderboard/leaderboard.json); `loci bench` measures whole steps of a model beside its roof,
`loci bench attention` the attention of one layer of Llama 3 8B's heads. --again measures what is there again; --prefix COMMAND
stands before every measurement, to keep other work off the machine meanwhile. Standard library only.
"""

import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = ROOT / "lab/leaderboard/leaderboard.json"
RESULTS = ROOT / "bench/results/speed_of_light"
PAGE = ROOT / "docs/speed-of-light.md"
CHUNK = 512  # prompt tokens of the prefill test
REFUSED = 2  # the greatest exit status that an answer to the user has
SHAPE = "llama3-8b,layers=1"


def file_name(plan, depth):
    return re.sub(r"[^a-z0-9]+", "-", plan.lower()).strip("-") + f"-{depth}.json"


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else "unknown processor"


def commit():
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def measured(command):
    """The JSON that a command prints; None, with its last line, if it refuses. A crash is no refusal."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode < 0 or done.returncode > REFUSED:
        sys.exit(f"speed_of_light: {shlex.join(map(str, command))} ended with {done.returncode}: {done.stderr}")
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["it says nothing"])[-1].removeprefix("loci: ")
    return json.loads(done.stdout), None


def measure(options, plan, depth):
    prefix = shlex.split(options.prefix)
    out = {"plan": plan, "depth": depth, "model": options.model, "machine": machine(), "commit": commit()}
    command = [*prefix, options.loci, "bench", "-m", options.model, "--attention", plan, "--depth", depth, "--prompt", CHUNK, "--gen", 32,
               "--reps", 3, "--json"]
    out["bench"], why = measured(command)
    if why:
        out["refused"] = why
    out["attention"], why = measured([*prefix, options.loci, "bench", "attention", "--shape", SHAPE, "--attention", plan, "--depth", depth,
                                      "--steps", 32, "--json"])
    if why:
        out["attention_refused"] = why
    return out


def run(options):
    config = json.loads(options.config.read_text())
    end = time.monotonic() + 60 * options.minutes if options.minutes else None
    options.out.mkdir(parents=True, exist_ok=True)
    for depth in options.depths:
        for name, plan in config["plans"].items():
            path = options.out / file_name(plan, depth)
            if (options.plans and name not in options.plans) or (path.exists() and not options.again):
                continue
            if end and time.monotonic() > end:
                print("speed of light: the time is up; the same command goes on from here", file=sys.stderr)
                return 0
            print(f"speed of light: {plan} at {depth}", file=sys.stderr)
            path.write_text(json.dumps(measure(options, plan, depth), indent=1) + "\n")
    return 0


# ---- the page


def duty(row, tokens):
    """What `tokens` tokens of a bench row needed: bytes, multiply-accumulates, seconds, and the roof's seconds."""
    seconds = tokens / row["tok_s"]
    return {"bytes": row["gb_s"] * 1e9 * seconds, "macs": row["gmac_s"] * 1e9 * seconds, "seconds": seconds,
            "roof": row["roof_share"] * seconds}


def number(value):
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def length_text(length):
    return f"{length // 1024}K" if length % 1024 == 0 else str(length)


def ordered(contents, plans):
    place = {plan: i for i, plan in enumerate(plans)}
    return sorted(contents, key=lambda c: (c["depth"], place.get(c["plan"], len(place)), c["plan"]))


def step_rows(contents, test, tokens):
    rows = []
    for content in contents:
        for row in content["bench"] or []:
            if row["test"] != test:
                continue
            need = duty(row, tokens)
            rows.append(f"| {length_text(content['depth'])} | `{content['plan'].replace('|', chr(92) + '|')}` | {number(need['bytes'] / 2**20)} | "
                        f"{number(need['macs'] / 1e6)} | {number(need['roof'] * 1e3)} | {number(need['seconds'] * 1e3)} | "
                        f"{100 * row['roof_share']:.0f} % | {number(row['kv_bytes'] / 2**20)} |")
    return rows


def attention_rows(contents):
    rows = []
    for content in contents:
        if not content["attention"]:
            continue
        row = content["attention"][0]
        roof = row["read_bytes"] / (row["roof_gb_s"] * 1e9)
        rows.append(f"| {length_text(content['depth'])} | `{content['plan'].replace('|', chr(92) + '|')}` | "
                    f"{number(row['read_bytes'] / 2**20)} | {number(roof * 1e3)} | {number(row['read_ms'])} | {number(row['select_ms'])} | "
                    f"{number(row['step_ms'])} | {100 * roof * 1e3 / row['step_ms']:.0f} % | {row['speedup']:.2f} |")
    return rows


def roofs(contents):
    rows = [row for content in contents for row in content["bench"] or []]
    span = lambda key: f"{min(r[key] for r in rows):.0f} to {max(r[key] for r in rows):.0f}"
    return (f"reads {span('roof_gb_s')} GB/s, 8-bit integers {span('roof_int8_gmac_s')} GMAC/s, bfloat16 {span('roof_bf16_gmac_s')}, "
            f"fp32 {span('roof_f32_gmac_s')}")


def page_text(contents, plans):
    contents = ordered(contents, plans)
    if not any(content["bench"] for content in contents):
        return "# Speed of light\n\nNothing was measured yet: `tools/speed_of_light.py run`.\n"
    first = next(content for content in contents if content["bench"])
    threads = first["bench"][0]["threads"]
    lines = ["# Speed of light", "",
             "What each plan must move and multiply at each length, the time the machine's roof takes for that, and the time Loci took. "
             "Written by `tools/speed_of_light.py page` from `bench/results/speed_of_light`.", "",
             f"Machine: {first['machine']}, {threads} threads. The roof was measured beside every test: {roofs(contents)}. Bytes are those "
             "of the weights, read once a pass, and of the cache entries that attention has read, as the engine counted them; MMAC are "
             "million multiply-accumulates (two flops each) of projections and attention. Work that a plan does to choose what it reads "
             "is in the measured time alone: its share of the roof falls by it.", "",
             f"## One token of an answer, `{first['model']}`", "",
             "The roof is the bandwidth of reads from memory. What lies in caches from the step before comes faster: with few bytes to read, "
             "which a third-level cache holds in part, shares exceed 100 %.", "",
             "| length | plan | MiB to read | MMAC | roof ms | measured ms | of roof | cache MiB |", "|---|---|--:|--:|--:|--:|--:|--:|",
             *step_rows(contents, "decode", 1), "",
             f"## {CHUNK} tokens of a prompt, `{first['model']}`", "",
             "Behind as many tokens as the length says. The roof is the time of the multiply-accumulates: linear ones at the 8-bit rate, "
             "attention's at the bfloat16 rate.", "",
             "| length | plan | MiB to read | MMAC | roof ms | measured ms | of roof | cache MiB |", "|---|---|--:|--:|--:|--:|--:|--:|",
             *step_rows(contents, "prefill", CHUNK), "",
             "## Attention alone: one layer of Llama 3 8B's heads", "",
             "32 query heads, 8 KV heads of 128, random entries and queries, a decode step of one sequence. Reading and selecting are timed "
             "apart; the last column is the speed beside dense, in turns with it.", "",
             "| length | plan | MiB to read | roof ms | read ms | select ms | step ms | of roof | over dense |",
             "|---|---|--:|--:|--:|--:|--:|--:|--:|", *attention_rows(contents), ""]
    for content in contents:
        for key, what in (("refused", f"on `{content['model']}`"), ("attention_refused", "without a model")):
            if key in content:
                lines += [f"Not measured {what}: `{content['plan']}` at {length_text(content['depth'])}: {content[key]}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def page_of(options):
    contents = [json.loads(path.read_text()) for path in sorted(options.out.glob("*.json"))]
    return page_text(contents, list(json.loads(options.config.read_text())["plans"].values()))


class SelfTest(unittest.TestCase):
    BENCH = {"test": "decode", "tok_s": 100.0, "gb_s": 20.0, "gmac_s": 5.0, "roof_share": 0.5, "kv_bytes": 2**20, "threads": 2,
             "roof_gb_s": 40.0, "roof_int8_gmac_s": 470.0, "roof_bf16_gmac_s": 235.0, "roof_f32_gmac_s": 118.0}

    def test_duty_is_what_the_rates_say(self):
        need = duty(self.BENCH, 1)
        self.assertEqual((200e6, 50e6, 0.01, 0.005), tuple(round(need[key], 9) for key in ("bytes", "macs", "seconds", "roof")))

    def test_page_has_a_row_a_plan_in_order(self):
        base = {"model": "m", "machine": "x", "commit": "c", "attention": None}
        contents = [{"plan": "b", "depth": 4096, "bench": [self.BENCH], **base}, {"plan": "a|", "depth": 4096, "bench": [self.BENCH], **base},
                    {"plan": "c", "depth": 1024, "bench": None, "refused": "no profile", **base}]
        page = page_text(contents, ["a|", "b"])
        self.assertLess(page.index("`a\\|`"), page.index("`b`"))
        self.assertIn("| 4K | `b` | 191 | 50 | 5 | 10 | 50 % | 1 |", page)
        self.assertIn("Not measured on `m`: `c` at 1K: no profile.", page)

    def test_file_names_are_plain(self):
        self.assertEqual("duo-ratio-0-25-store-kv4-4096.json", file_name("duo(ratio=0.25); store=kv4", 4096))


def main(arguments):
    if arguments == ["--self-test"]:
        return 0 if unittest.main(argv=[sys.argv[0]], exit=False).result.wasSuccessful() else 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "page", "check"])
    parser.add_argument("--loci", type=pathlib.Path, default=ROOT / "build/cpu/loci")
    parser.add_argument("--config", type=pathlib.Path, default=CONFIG)
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--model", default="needle")
    parser.add_argument("--depths", type=int, nargs="+", default=[4096, 16384, 65536])
    parser.add_argument("--plans", nargs="+", metavar="NAME", help="by the names of the configuration")
    parser.add_argument("--minutes", type=float, help="begin no measurement after so long")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--prefix", default="", help="a command to stand before each measurement")
    options = parser.parse_args(arguments)
    if options.what == "run":
        return run(options)
    text = page_of(options)
    if options.what == "page":
        PAGE.write_text(text)
        return 0
    fresh = PAGE.exists() and PAGE.read_text() == text
    print("the page is in order" if fresh else "docs/speed-of-light.md is stale: run tools/speed_of_light.py page")
    return 0 if fresh else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
