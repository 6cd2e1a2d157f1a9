#!/usr/bin/env python3
"""Runs the leaderboard's evaluations, keeps their compact results, and writes docs/leaderboard.md from these.

    tools/leaderboard.py run --loci build/cpu/loci --minutes 60    in the order of lab/leaderboard/leaderboard.json; the same
                                                                   command goes on where the last one stopped
    tools/leaderboard.py page                                      writes docs/leaderboard.md from bench/results/leaderboard
    tools/leaderboard.py check --loci build/cpu/loci               the page is up to date, and every registered method has a plan
    tools/leaderboard.py --self-test

`run` keeps the whole results, with every prompt and answer, in --work (build/leaderboard), and one file a step without texts in
bench/results/leaderboard. What that file holds of the same model, seed and texts is not asked again, so a run goes on where another
machine's ended; times only mix if the processor is the same. --busy: the machine has other work, times are not to be shown.
--plans and --steps take some by name; --prompts and --lengths override a step's, for a trial. Standard library only.
"""

import argparse
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = ROOT / "lab/leaderboard/leaderboard.json"
RESULTS = ROOT / "bench/results/leaderboard"
PAGE = ROOT / "docs/leaderboard.md"
BOOK = ROOT / "data/books/moby-dick.txt"
FIRST_SENTENCE = "Call me Ishmael."
GRACE_SECONDS = 60  # between Ctrl-C and a kill
CHARACTERS_A_TOKEN = 8  # more than any tokenizer needs: what is too long is cut to one window by tokens


def lengths_in_tokens(text):
    return int(text[:-1]) * 1024 if text[-1:] in "kK" else int(text)


# ---- running


class Deadline:
    def __init__(self, minutes):
        self.end = time.monotonic() + 60 * minutes if minutes else None

    def left(self):
        return None if self.end is None else max(0.0, self.end - time.monotonic())

    def passed(self):
        return self.end is not None and self.left() == 0


def call(command, deadline):
    """The command's exit status and output; None if the time was up, or Ctrl-C came, before it ended."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    try:
        out, _ = process.communicate(timeout=deadline.left())
        return process.returncode, out
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as reason:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if isinstance(reason, KeyboardInterrupt):
            deadline.end = time.monotonic()  # what is there is written, and no other step begins
        return None


def plans_of(step, config, chosen):
    known = {**config["plans"], **config.get("variants", {})}
    return {name: known[name] for name in step.get("plans", config["plans"]) if not chosen or name in chosen or name == "dense"}


def refusal(loci, model, plan, context):
    """Why the engine will not run the plan on the model, or None."""
    done = subprocess.run([str(loci), "plan", "-m", model, "--ctx", str(context), "--attention", plan, "--json"],
                          capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or ["refused"])[-1].removeprefix("loci: ")


def read_json(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def whole_results(path):
    """(settings, records) of a file of `loci eval --json` and of what an interrupted run left beside it."""
    settings, records = None, {}
    whole = read_json(path)
    if whole:
        settings = whole["settings"]
        for record in whole["results"]:
            records[key_of(record)] = record
    part = path.with_name(path.name + ".part")
    if part.exists():
        for line in part.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                break  # the run was killed inside a line
            if "plan" not in record:
                settings = settings or record
            else:
                records[key_of(record)] = record
    return settings, list(records.values())


def key_of(record):
    return record["plan"], record["task"], record["length"], record["index"]


def mean(values):
    return sum(values) / len(values)


def cells_of(records, commit):
    groups = {}
    for record in records:
        groups.setdefault(cell_key(record), []).append(record)
    cells = []
    for (plan, task, length), group in groups.items():
        group.sort(key=lambda record: record["index"])
        kl = [record["kl"] for record in group if record["kl"] is not None]
        agreement = [record["agreement"] for record in group if record["agreement"] is not None]
        of_time = lambda name: mean([record["time"][name] for record in group])
        cells.append({
            "plan": plan, "attention": group[0]["attention"], "task": task, "length": length, "commit": commit,
            "indices": [record["index"] for record in group], "scores": [round(record["score"], 4) for record in group],
            "kl": round(mean(kl), 6) if kl else None, "agreement": round(mean(agreement), 4) if agreement else None,
            "kv_bytes": round(mean([record["kv_bytes"] for record in group])),
            "kept_tokens": round(mean([record["kept_tokens"] for record in group]), 1),
            "prompt_tokens": round(mean([record["prompt_tokens"] for record in group]), 1),
            "prefill_s": round(of_time("prefill_s"), 4), "decode_s": round(of_time("decode_s"), 5),
            "decode_steps": round(of_time("decode_steps"), 2)})
    return cells


def cell_key(item):
    return item["plan"], item["task"], item["length"]


def comparable(settings):
    """What cells of one file must agree in: times that are not shown do not count."""
    machine = {"processor", "threads", "isa"} if settings.get("busy") else set()
    return {key: value for key, value in settings.items() if key not in machine | {"loci"}}


def merged(old, settings, cells):
    """Fresh cells, and those of the file before that are whole where the fresh ones are not."""
    kept = {cell_key(cell): cell for cell in old["cells"]} if old and comparable(old["settings"]) == comparable(settings) else {}
    for cell in cells:
        before = kept.get(cell_key(cell))
        if before is None or len(cell["indices"]) >= len(before["indices"]):
            kept[cell_key(cell)] = cell
    return list(kept.values())


def whole_plans(content, tasks, lengths, prompts):
    """Plans of which nothing is missing in a compact file."""
    cells = {cell_key(cell): cell for cell in content["cells"]}
    has = lambda plan, task, length: len(cells.get((plan, task, length), {"indices": []})["indices"]) >= prompts
    return {plan for plan, _, _ in cells if all(has(plan, task, length) for task in tasks for length in lengths)}


def commit():
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def write_compact(out, name, content):
    """One cell a line, so that a diff says what changed."""
    lists = ("cells", "perplexity")
    lines = ["{"] + [f' "{key}": {json.dumps(value)},' for key, value in content.items() if key not in lists]
    present = [key for key in lists if key in content]
    for key in present:
        rows = ",\n".join("  " + json.dumps(row) for row in content[key])
        lines.append(f' "{key}": [\n{rows}\n ]' + ("," if key != present[-1] else ""))
    out.mkdir(parents=True, exist_ok=True)
    fresh = out / f".{name}.new"
    fresh.write_text("\n".join(lines) + "\n}\n")
    fresh.replace(out / f"{name}.json")


def refused_plans(loci, step, plans, context):
    found = {plan: refusal(loci, step["model"], plan, context) for plan in plans.values()}
    return {plan: why for plan, why in found.items() if why}


def tasks_of(loci, suites):
    listing = json.loads(subprocess.run([str(loci), "eval", "list", "--json"], capture_output=True, text=True, check=True).stdout)
    for suite in suites:
        name, _, tasks = suite.partition(":")
        yield from tasks.split(",") if tasks else [task["task"] for task in listing if task["suite"] == name]


def run_suite(step, plans, options, deadline):
    lengths = [lengths_in_tokens(text) for text in (options.lengths or step["length"]).split(",")]
    prompts = int(options.prompts or step["prompts"])
    refused = refused_plans(options.loci, step, plans, max(lengths))
    whole = options.work / f"{step['name']}.json"
    path = options.out / f"{step['name']}.json"
    can = [plan for plan in plans.values() if plan not in refused]
    old = read_json(path)
    if old and old["settings"].get("busy", False) == options.busy:
        there = whole_plans(old, list(tasks_of(options.loci, step["suites"])), lengths, prompts)
        can = [plan for plan in can if plan not in there]
        if not can:
            return True
        if "dense" in there:
            can.insert(0, "dense")  # what the others are compared with
    done = call([options.loci, "eval", "--suite", *step["suites"], "--lengths", ",".join(map(str, lengths)), "--prompts",
                 prompts, "-m", step["model"], "--json", whole, "--plans", *can], deadline)
    if done is not None and done[0] != 0:
        sys.exit(f"leaderboard: step '{step['name']}' failed; run its command again to see why")
    settings, records = whole_results(whole)
    if records:
        settings["busy"] = options.busy
        write_compact(options.out, step["name"], {
            "name": step["name"], "model": step["model"], "settings": settings, "refused": refused,
            "cells": merged(old, settings, cells_of(records, commit()))})
    return done is not None


def run_perplexity(step, plans, options, deadline):
    wanted = step["perplexity"]
    path = options.out / f"{step['name']}.json"
    context = wanted["window"]
    refused = refused_plans(options.loci, step, plans, context)
    content = {"name": step["name"], "model": step["model"], "text": BOOK.name, **wanted, "refused": refused, "perplexity": []}
    old = read_json(path)
    if old and all(old[key] == content[key] for key in ("model", "text", *wanted)):
        content["perplexity"] = old["perplexity"]
    book = BOOK.read_text()
    book = book[book.find(FIRST_SENTENCE):][:context * CHARACTERS_A_TOKEN]
    with tempfile.TemporaryDirectory() as folder:
        ids = pathlib.Path(folder) / "ids.json"
        text = pathlib.Path(folder) / "text.txt"
        text.write_text(book)
        tokens = json.loads(subprocess.run([str(options.loci), "tokenize", "-m", step["model"], "-f", str(text), "--json"],
                                           capture_output=True, text=True, check=True).stdout)["ids"]
        ids.write_text(json.dumps(tokens[:context]))
        for plan in plans.values():
            if plan in refused or any(row["plan"] == plan for row in content["perplexity"]):
                continue
            row = {"plan": plan, "commit": commit()}
            for key, more in (("prompt_nll", []), ("decode_nll", ["--decode", wanted["decode"]])):
                done = call([options.loci, "eval", "perplexity", "-m", step["model"], "--tokens", ids, "--attention", plan, "--json",
                             *more], deadline)
                if done is None:
                    return False
                if done[0] != 0:
                    sys.exit(f"leaderboard: step '{step['name']}' failed under plan '{plan}'")
                row[key] = round(json.loads(done[1])["mean_nll"], 5)
            content["perplexity"].append(row)
            write_compact(options.out, step["name"], content)
    return True


def run(options):
    config = json.loads(options.config.read_text())
    options.work.mkdir(parents=True, exist_ok=True)
    deadline = Deadline(options.minutes)
    for step in config["steps"]:
        if options.steps and step["name"] not in options.steps:
            continue
        if deadline.passed():
            print(f"leaderboard: the time is up before step '{step['name']}'", file=sys.stderr)
            return 0
        plans = plans_of(step, config, options.plans)
        print(f"leaderboard: {step['name']}, {len(plans)} plans", file=sys.stderr)
        one = run_perplexity if "perplexity" in step else run_suite
        if not one(step, plans, options, deadline):
            print(f"leaderboard: stopped in step '{step['name']}'; the same command goes on from there", file=sys.stderr)
            return 0
    return 0


# ---- the page


def text_bytes(count):
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1024:.3g} KiB"


def length_text(length):
    return f"{length // 1024}K" if length % 1024 == 0 else str(length)


def frontier(rows):
    """Rows that no other one beats in score and bytes."""
    point = lambda row: (-row["score"], row["kv_bytes"])
    beats = lambda a, b: all(x <= y for x, y in zip(a, b)) and a != b
    return [row for row in rows if not any(beats(point(other), point(row)) for other in rows)]


def rows_of(cells):
    """One row a plan, over the prompts that all whole plans have answered; a plan with less than half of them is no whole one, and
    its row is over its own."""
    plans = list(dict.fromkeys(cell["plan"] for cell in cells))
    tasks = list(dict.fromkeys(cell["task"] for cell in cells))
    of_plan = {plan: {cell["task"]: cell for cell in cells if cell["plan"] == plan} for plan in plans}
    most = max(sum(len(cell["indices"]) for cell in mine.values()) for mine in of_plan.values())
    whole = {plan for plan, mine in of_plan.items()
             if len(mine) == len(tasks) and 2 * sum(len(cell["indices"]) for cell in mine.values()) >= most}
    shared = {task: set.intersection(*(set(of_plan[plan][task]["indices"]) for plan in whole)) for task in tasks} if whole else {}
    rows = []
    for plan, mine in of_plan.items():
        of = lambda key: [cell[key] for cell in mine.values() if cell[key] is not None]
        scores = {task: [score for index, score in zip(cell["indices"], cell["scores"]) if plan not in whole or index in shared[task]]
                  for task, cell in mine.items()}
        scores = {task: values for task, values in scores.items() if values}
        rows.append({
            "plan": plan, "whole": plan in whole, "tasks": {task: mean(values) for task, values in scores.items()},
            "score": mean([mean(values) for values in scores.values()]), "prompts": sum(map(len, scores.values())),
            "kl": mean(of("kl")) if of("kl") else None, "agreement": mean(of("agreement")) if of("agreement") else None,
            "kv_bytes": mean(of("kv_bytes")),
            "prefill": sum(of("prompt_tokens")) / max(sum(of("prefill_s")), 1e-9),
            "decode": sum(of("decode_steps")) / max(sum(of("decode_s")), 1e-9)})
    rows.sort(key=lambda row: (row["plan"] != "dense", not row["whole"], -round(row["score"], 4), row["kv_bytes"]))
    return tasks, rows


def cell_text(value):
    return value.replace("|", "\\|")


def commits_text(items):
    return ", ".join(f"`{commit}`" for commit in dict.fromkeys(item["commit"] for item in items))


def suite_section(content, length):
    cells = [cell for cell in content["cells"] if cell["length"] == length]
    tasks, rows = rows_of(cells)
    best = frontier([row for row in rows if row["whole"]])
    dense = next((row for row in rows if row["plan"] == "dense"), None)
    settings = content["settings"]
    busy = settings.get("busy", False)
    speeds = "" if busy else f"; {settings['processor']}, {settings['threads']} threads"
    lines = [f"## {content['model']}, {length_text(length)} tokens", "",
             f"{max(row['prompts'] for row in rows if row['whole'])} prompts a plan, seed {settings['seed']}, haystack "
             f"{settings['haystack']}{speeds}; commits {commits_text(cells)}, `bench/results/leaderboard/{content['name']}.json`."
             + (" The machine had other work, so that no speeds are shown." if busy else ""), "",
             "| plan | | score % | " + " | ".join(tasks) + " | KL | top-1 % | cache | of dense |" + ("" if busy else " prefill tok/s | decode tok/s |"),
             "|---|---|--:|" + "--:|" * len(tasks) + "--:|--:|--:|--:|" + ("" if busy else "--:|--:|")]
    for row in rows:
        percent = lambda share: "" if share is None else f"{100 * share:.1f}"
        scores = " | ".join(percent(row["tasks"].get(task)) for task in tasks)
        share = f"{100 * row['kv_bytes'] / dense['kv_bytes']:.1f} %" if dense else ""
        mark = "●" if row in best else "" if row["whole"] else "part"
        kl = "" if row["kl"] is None else f"{row['kl']:.4f}"
        lines.append(f"| `{cell_text(row['plan'])}` | {mark} | {percent(row['score'])} | {scores} | {kl} | {percent(row['agreement'])} | "
                     f"{text_bytes(row['kv_bytes'])} | {share} |" + ("" if busy else f" {row['prefill']:.0f} | {row['decode']:.0f} |"))
    return lines + refused_lines(content)


def perplexity_section(content):
    rows = content["perplexity"]
    dense = next((row for row in rows if row["plan"] == "dense"), None)
    lines = [f"## {content['model']}, negative log-likelihood", "",
             f"Nats a token on the first {content['window']} tokens of {content['text']}: all of them read as a prompt, and the last "
             f"{content['decode']} read one by one, as an answer is; in brackets the difference from dense. Commits {commits_text(rows)}, "
             f"`bench/results/leaderboard/{content['name']}.json`.", "",
             "| plan | prompt | decode |", "|---|--:|--:|"]
    rows = sorted(rows, key=lambda row: (row["plan"] != "dense", row["decode_nll"]))
    for row in rows:
        text = lambda key: f"{row[key]:.4f}" + (f" ({row[key] - dense[key]:+.4f})" if dense and row is not dense else "")
        lines.append(f"| `{cell_text(row['plan'])}` | {text('prompt_nll')} | {text('decode_nll')} |")
    return lines + refused_lines(content)


def refused_lines(content):
    lines = [""]
    for plan, why in content.get("refused", {}).items():
        lines += [f"Not measured: `{plan}`: {why}.", ""]
    return lines


def page_text(config, contents):
    order = {step["name"]: place for place, step in enumerate(config["steps"])}
    lines = ["# Leaderboard", "",
             "Every registered method and the main compositions, measured by Loci on the way that requests take. Written by "
             "`tools/leaderboard.py page` from the files named below; [lab/leaderboard](../lab/leaderboard/README.md) says how to run it.", "",
             "Score: the mean over the tasks, each as its suite scores it ([evaluation.md](evaluation.md)); KL (nats a token) and top-1 "
             "against dense at the tokens of dense's answer; cache: bytes of a sequence when its answer ends. ● marks the frontier: no "
             "other plan of the table is as good in score and cache, and better in one; `part`: few of the prompts were run. The scores of "
             "the others are over the same prompts. Plans of equal score stand by bytes. Few prompts: neighbours in score are not told apart; the KL is the finer gauge.", ""]
    measured = {cell["plan"] for content in contents for cell in content.get("cells", content.get("perplexity"))}
    for content in sorted(contents, key=lambda content: (order.get(content["name"], len(order)), content["name"])):
        if "perplexity" in content:
            lines += perplexity_section(content)
            continue
        for length in sorted({cell["length"] for cell in content["cells"]}):
            lines += suite_section(content, length)
    missing = [plan for plan in config["plans"].values() if plan not in measured]
    if missing:
        lines += ["## Not run yet", "", ", ".join(f"`{plan}`" for plan in missing) + ".", ""]
    return "\n".join(lines).rstrip() + "\n"


def page_of(options):
    contents = [json.loads(path.read_text()) for path in sorted(options.out.glob("*.json"))]
    return page_text(json.loads(options.config.read_text()), contents)


def method_names(listing):
    """Names in `loci methods --json`."""
    methods = listing["methods"] if isinstance(listing, dict) else listing
    return [method["name"] for method in methods]


def unplanned(config, methods):
    """Registered methods that stand in no plan; kv16 is what dense stores."""
    words = set(re.findall(r"[\w-]+", " ".join(config["plans"].values())))
    return [name for name in methods if name not in words | {"kv16"}]


def check(options):
    wrong = []
    if page_of(options) != PAGE.read_text():
        wrong.append("docs/leaderboard.md is stale: run tools/leaderboard.py page")
    listing = subprocess.run([str(options.loci), "methods", "--json"], capture_output=True, text=True, check=True).stdout
    for name in unplanned(json.loads(options.config.read_text()), method_names(json.loads(listing))):
        wrong.append(f"lab/leaderboard/leaderboard.json has no plan with the registered method '{name}': add one")
    print("\n".join(wrong) or "the leaderboard is in order")
    return 1 if wrong else 0


# ---- tests


def made_record(plan, task, index, score, **more):
    time_of = {"prefill_s": 2.0, "decode_s": 0.5, "decode_steps": 10}
    return {"plan": plan, "attention": plan, "task": task, "length": 1024, "index": index, "score": score, "kl": None, "agreement": None,
            "kv_bytes": 1000, "kept_tokens": 10, "prompt_tokens": 1000, "time": time_of, **more}


class SelfTest(unittest.TestCase):
    def test_cells_hold_means_and_scores_in_order(self):
        cells = cells_of([made_record("a", "t", 1, 0.5, kl=0.2), made_record("a", "t", 0, 1.0, kl=0.4), made_record("b", "t", 0, 0.0)], "c")
        self.assertEqual(([0, 1], [1.0, 0.5], 0.3), (cells[0]["indices"], cells[0]["scores"], round(cells[0]["kl"], 6)))
        self.assertIsNone(cells[1]["kl"])

    def test_frontier_and_order(self):
        records = [made_record("dense", "t", 0, 1.0, kv_bytes=1000), made_record("worse", "t", 0, 0.5, kv_bytes=1000),
                   made_record("small", "t", 0, 0.5, kv_bytes=10), made_record("as good", "t", 0, 1.0, kv_bytes=500)]
        tasks, rows = rows_of(cells_of(records, "c"))
        self.assertEqual(["dense", "as good", "small", "worse"], [row["plan"] for row in rows])
        self.assertEqual(["as good", "small"], [row["plan"] for row in frontier(rows)])

    def test_plans_are_compared_on_the_prompts_that_all_have_answered(self):
        records = [made_record("dense", "t", index, float(index < 2)) for index in range(4)]
        records += [made_record("a", "t", index, 1.0) for index in range(2)] + [made_record("b", "t", 0, 0.0)]
        rows = {row["plan"]: row for row in rows_of(cells_of(records, "c"))[1]}
        self.assertEqual((1.0, 2, True), tuple(rows["dense"][key] for key in ("score", "prompts", "whole")))
        self.assertEqual((1.0, 2, True), tuple(rows["a"][key] for key in ("score", "prompts", "whole")))
        self.assertEqual((0.0, 1, False), tuple(rows["b"][key] for key in ("score", "prompts", "whole")))

    def test_the_page_names_what_is_missing(self):
        records = [made_record("dense", "t", index, 1.0) for index in range(3)] + [made_record("a", "t", 0, 1.0)]
        content = {"name": "n", "model": "m", "cells": cells_of(records, "c"), "refused": {"p|q": "no profile"},
                   "settings": {"seed": 1, "haystack": "h", "processor": "p", "threads": 2}}
        page = page_text({"plans": {"a": "a", "late": "late"}, "steps": []}, [content])
        self.assertIn("| `a` | part | 100.0 |", page)
        self.assertIn("`late`", page)
        self.assertIn("Not measured: `p|q`: no profile.", page)
        self.assertIn("tok/s", page)
        content["settings"]["busy"] = True
        self.assertNotIn("tok/s", page_text({"plans": {}, "steps": []}, [content]))

    def test_cells_of_another_run_are_kept(self):
        settings = {"loci": "1", "model": "m", "seed": 1, "processor": "p", "busy": True}
        old = {"settings": {**settings, "processor": "q", "loci": "2"},
               "cells": cells_of([made_record("a", "t", 0, 0.5), made_record("a", "t", 1, 0.5), made_record("b", "t", 0, 0.5)], "old")}
        fresh = cells_of([made_record("a", "t", 0, 1.0), made_record("b", "t", 0, 1.0)], "new")
        commits = lambda cells: [(cell["plan"], cell["commit"]) for cell in cells]
        self.assertEqual([("a", "old"), ("b", "new")], commits(merged(old, settings, fresh)))
        self.assertEqual([("a", "new"), ("b", "new")], commits(merged(old, {**settings, "seed": 2}, fresh)))
        self.assertEqual([("a", "new"), ("b", "new")], commits(merged(old, {**settings, "busy": False}, fresh)))
        self.assertEqual({"a"}, whole_plans(old, ["t"], [1024], 2))

    def test_an_interrupted_run_counts(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "r.json"
            lines = [json.dumps({"model": "m"}), json.dumps(made_record("a", "t", 0, 1.0)), '{"plan": "a", "ta']
            path.with_name("r.json.part").write_text("\n".join(lines))
            settings, records = whole_results(path)
            self.assertEqual(({"model": "m"}, 1), (settings, len(records)))

    def test_methods_without_a_plan_are_named(self):
        config = {"plans": {"x": "dense", "y": "duo(ratio=0.5); store=kv4", "z": "select=prefill:task-kv"}}
        self.assertEqual(["razor", "kv"], unplanned(config, ["dense", "duo", "kv4", "kv16", "task-kv", "razor", "kv"]))

    def test_compact_files_are_json(self):
        with tempfile.TemporaryDirectory() as folder:
            write_compact(pathlib.Path(folder), "n", {"name": "n", "cells": [{"a": 1}, {"a": 2}]})
            self.assertEqual({"name": "n", "cells": [{"a": 1}, {"a": 2}]}, json.loads((pathlib.Path(folder) / "n.json").read_text()))


def main(arguments):
    if arguments == ["--self-test"]:
        return 0 if unittest.main(argv=[sys.argv[0]], exit=False).result.wasSuccessful() else 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "page", "check"])
    parser.add_argument("--loci", type=pathlib.Path, default=ROOT / "build/cpu/loci")
    parser.add_argument("--config", type=pathlib.Path, default=CONFIG)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/leaderboard")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--minutes", type=float, help="stop after so long; default: run all")
    parser.add_argument("--steps", nargs="+", metavar="NAME")
    parser.add_argument("--plans", nargs="+", metavar="NAME", help="by the names of the configuration; dense is always among them")
    parser.add_argument("--prompts", help="of each task, in place of what the step says")
    parser.add_argument("--busy", action="store_true", help="the machine has other work: times are not to be shown")
    parser.add_argument("--lengths", help="4k,16k in place of the step's")
    options = parser.parse_args(arguments)
    if options.what == "page":
        PAGE.write_text(page_of(options))
        return 0
    return run(options) if options.what == "run" else check(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
