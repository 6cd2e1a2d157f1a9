#!/usr/bin/env python3
"""Kills `loci eval` at random moments and starts it again until it ends; the result must be that of an unbroken run.

    python3 tests/cli/kill_and_resume.py --loci build/cpu/loci [--seed S] MODEL

Both files are compared but for the times measured: plans, prompts, answers, scores, divergences from dense, cells. The plans
and tasks take every way of asking: an answer, a choice, a recall, a conversation, requests. The moments are drawn from the
seed, which is printed, between the start of the program and a little more than an unbroken run takes. Of what a killed run
had finished nothing is asked again: the times measured then stand in the result.
"""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

LEAST_KILLS, MOST_RUNS = 3, 60
RUN = ["--suite", "ruler:niah_single_1,vt", "mqar:mqar_sparse", "sort:sort_20", "scbench:kv_turns,kv_requests",
       "--lengths", "1152", "--prompts", "2", "--plans", "store=kv4", "dense"]


def untimed(path):
    result = json.loads(path.read_text())
    for part in ("cells", "results"):
        for item in result[part]:
            item.pop("time", None)
    return result


def finished(path):
    """By key the whole results that a killed run has left."""
    part = path.with_name(path.name + ".part")
    out = {}
    for line in part.read_text().splitlines() if part.exists() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break  # killed inside a line
        if "plan" in record:
            out[key_of(record)] = record["time"]
    return out


def key_of(record):
    return record["plan"], record["task"], record["length"], record["index"]


def start(loci, model, out):
    return subprocess.Popen([loci, "eval", *RUN, "-m", model, "--json", str(out)], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loci", required=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("model")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = pathlib.Path(folder) / "whole.json", pathlib.Path(folder) / "broken.json"
        began = time.monotonic()
        run = start(args.loci, args.model, whole)
        _, said = run.communicate()
        seconds = time.monotonic() - began
        if run.returncode != 0:
            return f"the unbroken run failed: {said.decode()}"
        kills, kept = 0, {}
        for number in range(MOST_RUNS):
            run = start(args.loci, args.model, broken)
            # Few of the first runs get to their end; later ones get more time.
            moment = rng.uniform(0, seconds * (0.6 if kills < LEAST_KILLS else 1.2))
            try:
                _, said = run.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                os.kill(run.pid, signal.SIGKILL)
                run.communicate()
                kills += 1
                left = finished(broken)
                if any(left.get(key) != at for key, at in kept.items()):
                    return f"after {kills} kills, results that were there have gone or were measured again"
                kept = left
                continue
            if run.returncode != 0:
                return f"run {number} after {kills} kills failed: {said.decode()}"
            break
        else:
            return f"after {MOST_RUNS} runs there is no result"
        if kills == 0 or not kept:
            return f"{kills} runs were killed, and {len(kept)} results were there then: nothing was shown"
        expected, got = untimed(whole), untimed(broken)
        for key in expected:
            if expected[key] != got[key]:
                return f"after {kills} kills '{key}' differs:\n{json.dumps(expected[key])}\n{json.dumps(got[key])}"
        times = {key_of(record): record["time"] for record in json.loads(broken.read_text())["results"]}
        if any(times[key] != at for key, at in kept.items()):
            return "results of killed runs were measured again"
        left = sorted(p.name for p in pathlib.Path(folder).iterdir() if p not in (whole, broken))
        if left:
            return f"left behind: {left}"
        print(f"{kills} kills, {len(got['results'])} results: equal, {len(kept)} of them from killed runs")
    return None


if __name__ == "__main__":
    sys.exit(main())
