#!/usr/bin/env python3
"""What the registry and the leaderboard's files say about a method, written into its page under docs/methods.

    tools/method_pages.py write LOCI    between the marks `<!-- begin registry -->` and `<!-- end registry -->`, and those of
                                        `leaderboard`, of each page; LOCI is the built binary
    tools/method_pages.py check LOCI    every registered method has its page, and the pages are up to date
    tools/method_pages.py --self-test

Every plan that names the method has a row for each model and length at which it was run. Standard library only.
"""

import json
import math
import pathlib
import re
import subprocess
import sys
import unittest

from leaderboard import CONFIG, RESULTS, ROOT, cell_text, length_text, method_names, rows_of

PAGES = ROOT / "docs/methods"
WITHOUT = {"dense", "kv16"}  # what the others are compared with


# ---- what the registry says


def value_text(value):
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def range_text(parameter):
    """What a parameter may be."""
    if parameter["type"] == "choice":
        return ", ".join(parameter["words"])
    if "least" not in parameter:
        return {"flag": "true, false"}.get(parameter["type"], parameter["type"])
    step = parameter.get("step", 1)
    steps = f", by {step}" if step > 1 else ""
    return f"{value_text(parameter['least'])} to {value_text(parameter['most'])}{steps}"


def cited(text):
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def registry_section(method):
    facts = [f"stage {', '.join(method['stages'])}", f"decides per {method['granularity']}"]
    facts += [f"dense when {method['dense_when']}"] if method["dense_when"] else []
    facts += [f"reads a `{method['profile']}` profile (`loci calibrate`)"] if method["profile"] else []
    lines = [" · ".join(facts), ""]
    lines += [cited(method["citation"]), ""] if method["citation"] else []
    if method["parameters"]:
        lines += ["| parameter | default | may be | unit | meaning |", "|---|---|---|---|---|"]
        for parameter in method["parameters"]:
            lines.append(f"| `{parameter['name']}` | {value_text(parameter['default'])} | {range_text(parameter)} | {parameter.get('unit', '')} | "
                         f"{cell_text(parameter['meaning'])} |")
        lines.append("")
    for other in method["excludes"]:
        lines.append(f"- Not with `{other['method']}`: {other['why']}.")
    lines += [""] if method["excludes"] else ["Composes with every other method.", ""]
    return "\n".join(lines)


# ---- what the leaderboard's files say


def names(plan, method):
    return method in re.findall(r"[\w-]+", plan)


def in_order(plans, config):
    order = [*config["plans"].values(), *config.get("variants", {}).values()]
    place = {plan: index for index, plan in enumerate(order)}
    return sorted(plans, key=lambda plan: (place.get(plan, len(place)), plan))


def largest_loss(row, dense):
    """The task that suffers most, as text; empty if none does."""
    losses = [(dense["tasks"][task] - score, task, score) for task, score in row["tasks"].items() if task in dense["tasks"]]
    loss, task, score = max(losses, default=(0, "", 0))
    return f"{task} {100 * score:.0f} of {100 * dense['tasks'][task]:.0f}" if loss > 0 else ""


def score_rows(method, contents, config):
    for content in contents:
        for length in sorted({cell["length"] for cell in content.get("cells", [])}):
            rows = {row["plan"]: row for row in rows_of([cell for cell in content["cells"] if cell["length"] == length])[1]}
            dense = rows.get("dense")
            if dense is None:
                continue
            for plan in in_order([plan for plan in rows if names(plan, method)], config):
                row = rows[plan]
                kl = "" if row["kl"] is None else f"{row['kl']:.4f}"
                yield (f"| {content['model']}, {length_text(length)} | `{cell_text(plan)}` | {row['prompts']} | {100 * row['score']:.1f} | "
                       f"{100 * dense['score']:.1f} | {largest_loss(row, dense)} | {kl} | {100 * row['kv_bytes'] / dense['kv_bytes']:.1f} % |")


def perplexity_rows(method, contents, config):
    for content in contents:
        rows = {row["plan"]: row for row in content.get("perplexity", [])}
        dense = rows.get("dense")
        if dense is None:
            continue
        change = lambda row, key: f"{100 * math.expm1(row[key] - dense[key]):+.2f} %"
        for plan in in_order([plan for plan in rows if names(plan, method)], config):
            yield (f"| {content['model']}, {length_text(content['window'])} | `{cell_text(plan)}` | {change(rows[plan], 'prompt_nll')} | "
                   f"{change(rows[plan], 'decode_nll')} |")


def section(method, contents, config):
    lines = ["Every plan that names the method; prompts, seeds and commits stand on the [leaderboard](../leaderboard.md).", ""]
    scores, perplexities = list(score_rows(method, contents, config)), list(perplexity_rows(method, contents, config))
    if scores:
        lines += ["| model, tokens | plan | prompts | score % | dense | largest loss | KL | cache, of dense |",
                  "|---|---|--:|--:|--:|---|--:|--:|", *scores, ""]
    if perplexities:
        lines += ["Perplexity of a novel against dense: all of the text read as a prompt, and its last tokens one by one.", "",
                  "| model, tokens | plan | prompt | decode |", "|---|---|--:|--:|", *perplexities, ""]
    return "\n".join(lines)


def with_section(text, name, body):
    """The text with `body` between the marks of that name, or None."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    return before + found + body + ended + after if found and ended else None


def wanted_text(text, method, contents, config):
    for name, body in (("registry", registry_section(method)), ("leaderboard", section(method["name"], contents, config))):
        text = None if text is None else with_section(text, name, body)
    return text


def run(loci, write):
    listed = lambda *more: json.loads(subprocess.run([loci, "methods", *more, "--json"], capture_output=True, text=True, check=True).stdout)
    config = json.loads(CONFIG.read_text())
    order = {step["name"]: place for place, step in enumerate(config["steps"])}
    contents = sorted((json.loads(path.read_text()) for path in RESULTS.glob("*.json")), key=lambda content: order.get(content["name"], len(order)))
    wrong = []
    for name in method_names(listed()):
        path = PAGES / f"{name}.md"
        if name in WITHOUT:
            continue
        if not path.exists():
            wrong.append(f"the registered method '{name}' has no page {path.relative_to(ROOT)}: write one")
            continue
        text = path.read_text()
        wanted = wanted_text(text, listed(name), contents, config)
        if wanted is None:
            wrong.append(f"{path.relative_to(ROOT)} lacks the marks '<!-- begin registry -->', '<!-- begin leaderboard -->' or their ends")
        elif wanted != text and write:
            path.write_text(wanted)
        elif wanted != text:
            wrong.append(f"{path.relative_to(ROOT)} is stale: run tools/method_pages.py write LOCI")
    print("\n".join(wrong) or "the methods' pages are in order")
    return 1 if wrong else 0


class SelfTest(unittest.TestCase):
    CONFIG = {"plans": {"dense": "dense", "b": "duo(ratio=0.5)"}, "variants": {"a": "duo; store=kv4"}}

    @staticmethod
    def cell(plan, task, score, kl):
        return {"plan": plan, "task": task, "length": 4096, "indices": [0], "scores": [score], "kl": kl, "agreement": None, "kv_bytes": 100,
                "prompt_tokens": 1, "prefill_s": 1, "decode_steps": 1, "decode_s": 1}

    def test_rows_follow_the_configuration_and_name_the_largest_loss(self):
        cells = [self.cell(plan, task, score, None if plan == "dense" else 0.25)
                 for plan, scores in {"dense": (1, 1), "duo; store=kv4": (0.5, 0), "duo(ratio=0.5)": (1, 1), "snapkv": (0, 0)}.items()
                 for task, score in zip(("one", "two"), scores)]
        rows = list(score_rows("duo", [{"model": "m", "cells": cells}], self.CONFIG))
        self.assertEqual(["| m, 4K | `duo(ratio=0.5)` | 2 | 100.0 | 100.0 |  | 0.2500 | 100.0 % |",
                          "| m, 4K | `duo; store=kv4` | 2 | 25.0 | 100.0 | two 0 of 100 | 0.2500 | 100.0 % |"], rows)

    def test_perplexity_is_a_change_in_percent(self):
        rows = [{"plan": "dense", "prompt_nll": 3.0, "decode_nll": 2.0}, {"plan": "duo", "prompt_nll": 3.0 + math.log(1.02), "decode_nll": 2.0}]
        content = {"model": "m", "window": 8192, "perplexity": rows}
        self.assertEqual(["| m, 8K | `duo` | +2.00 % | +0.00 % |"], list(perplexity_rows("duo", [content], self.CONFIG)))

    def test_a_method_is_a_whole_word(self):
        self.assertTrue(names("select=prefill:anchor(theta=12)", "anchor"))
        self.assertFalse(names("task-kv", "task"))

    def test_the_registry_says_what_a_parameter_may_be(self):
        integer = {"name": "n", "type": "integer", "default": 3, "least": 1, "most": 9, "step": 2, "unit": "rows", "meaning": "m"}
        self.assertEqual("1 to 9, by 2", range_text(integer))
        self.assertEqual("a, b", range_text({"type": "choice", "words": ["a", "b"]}))
        self.assertEqual("true, false", range_text({"type": "flag"}))
        method = {"stages": ["retain"], "granularity": "head", "dense_when": "n = 9", "profile": "", "citation": "On X, arXiv:2404.14469",
                  "parameters": [integer], "excludes": [{"method": "other", "why": "both would count"}]}
        self.assertEqual("stage retain · decides per head · dense when n = 9\n\nOn X, [arXiv:2404.14469](https://arxiv.org/abs/2404.14469)\n\n"
                         "| parameter | default | may be | unit | meaning |\n|---|---|---|---|---|\n| `n` | 3 | 1 to 9, by 2 | rows | m |\n\n"
                         "- Not with `other`: both would count.\n", registry_section(method))

    def test_what_stands_between_the_marks_is_replaced(self):
        begin, end = "<!-- begin x -->\n", "<!-- end x -->"
        self.assertEqual("a\n" + begin + "new\n" + end + "\nb", with_section("a\n" + begin + "old\n" + end + "\nb", "x", "new\n"))
        self.assertIsNone(with_section("no marks", "x", "new"))


def main(arguments):
    if arguments == ["--self-test"]:
        return 0 if unittest.main(argv=[sys.argv[0]], exit=False).result.wasSuccessful() else 1
    if len(arguments) != 2 or arguments[0] not in ("write", "check"):
        sys.exit(__doc__.strip())
    return run(arguments[1], arguments[0] == "write")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
