#!/usr/bin/env python3
"""Runs Loci and llama.cpp in turns on the same GGUF file and says how fast each reads and writes.

    bench/peers/llama_cpp/build.sh
    python3 bench/peers/llama_cpp/compare.py -m model.gguf --requantize Q4_0

Prints a Markdown table; every sample, with versions, machine and commands, goes to a file in bench/results/. Standard
library only.
"""
import argparse
import hashlib
import json
import os
import pathlib
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[3]
FLAGS = "avx2 avx_vnni avx512f avx512bw avx512vbmi avx512_vnni avx512_bf16 avx512_fp16 amx_int8 amx_bf16".split()
TESTS = ("prefill", "decode", "start")
ROOF = ("roof_gb_s", "roof_int8_gmac_s", "roof_f32_gmac_s")
TIMED = pathlib.Path(__file__).with_name("timed.py")
QUIET = 0.05  # of the machine's processor time, for everybody else
PAUSE_S = 15  # before another try: whoever disturbed the last one may be done by then


@dataclass
class Subject:
    """One thing that is timed: an engine, its file, its settings. Of subjects that share a column the best counts."""
    name: str
    column: str
    file: pathlib.Path
    command: object  # depth -> list of arguments; None: start and one token
    read: object  # standard output -> [(test, samples in tokens/s)], roof
    cells: dict = field(default_factory=dict)  # (test, depth) -> [{samples, others_share} of one process, ...]
    runs: list = field(default_factory=list)  # of each process: depth, seconds, others_share and the roof it measured

    def add(self, depth, run):
        found, roof = ([("start", [run["seconds"]])], {}) if depth is None else self.read(run["output"])
        self.runs.append({"depth": depth, "seconds": run["seconds"], "others_share": run["others_share"], **roof})
        for test, samples in found:
            process = {"samples": samples, "others_share": run["others_share"]}
            self.cells.setdefault((test, depth or 0), []).append(process)


def progress(text):
    print(text, file=sys.stderr, flush=True)


def output_of(command):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    give_up_unless_well(done.returncode, command, done.stdout + done.stderr)
    return done.stdout


def give_up_unless_well(status, command, said):
    if status != 0:
        sys.exit(f"compare.py: status {status} of {shlex.join(map(str, command))}: {said[-800:]}")


def timed(options, command):
    """One process, run again while others use too much of the machine; of several tries the least disturbed counts."""
    best = None
    for attempt in range(options.tries):
        time.sleep(PAUSE_S if attempt > 0 else 0)
        run = json.loads(output_of([*options.prefix, sys.executable, TIMED, *command]))
        give_up_unless_well(run["status"], command, run["output"] + run["errors"])
        if best is None or run["others_share"] < best["others_share"]:
            best = run
        if best["others_share"] <= QUIET:
            break
        progress(f"others used {run['others_share']:.0%} of the machine, try {attempt + 1} of {options.tries}")
    return best


# --- the two engines -------------------------------------------------------------------------------------------------

def read_llama(text):
    return [("prefill" if row["n_prompt"] > 0 else "decode", row["samples_ts"]) for row in json.loads(text)], {}


def read_loci(text):
    rows = json.loads(text)
    return [(row["test"], [row["tok_s_min"], row["tok_s"], row["tok_s_max"]]) for row in rows], {
        key: rows[0][key] for key in ROOF}


def llama_subjects(options, file, label):
    bench = options.peer / "build/bin/llama-bench"

    def command(flash):
        common = [bench, "-m", file, "-t", options.threads, "-fa", flash, "-ctk", "f16", "-ctv", "f16", "-o", "json"]

        def at(depth):
            if depth is None:
                return [*common, "-p", 0, "-n", 1, "-r", 1, "--no-warmup"]
            return [*common, "-p", options.prompt, "-n", options.gen, "-d", depth, "-r", options.samples]
        return at
    return [Subject(f"{label}, -fa {flash}", label, file, command(flash), read_llama) for flash in (0, 1)]


def loci_subject(options, store, activations):
    name = f"loci {store}" + (f", {activations}" if activations else "")
    common = ["-m", options.model, "--attention", f"store={store}", "--threads", options.threads]
    if activations:
        common += ["--activations", activations]

    def at(depth):
        if depth is None:
            return [options.loci, "run", *common, "--raw", "-p", "a", "-n", 1, "--temp", 0, "--json"]
        return [options.loci, "bench", *common, "--prompt", options.prompt, "--gen", options.gen, "--depth", depth,
                "--reps", options.samples, "--json"]
    return Subject(name, name, options.model, at, read_loci)


def requantized(options, kind):
    """The same weights in another type, made once. The name holds the source's digest, so it is never a stale one."""
    target = options.peer / "models" / f"{options.model.stem}-{digest(options.model)[:12]}-{kind}.gguf"
    if not target.exists():
        progress(f"requantizing {options.model.name} to {kind}")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        quantize = options.peer / "build/bin/llama-quantize"
        output_of([quantize, "--allow-requantize", options.model, part, kind, options.threads])
        part.rename(target)
    return target


def interleaved(peers, own):
    """Peer, own, peer, own: a machine that slows down meanwhile slows both."""
    longest = max(len(peers), len(own))
    return [group[i] for i in range(longest) for group in (peers, own) if i < len(group)]


# --- measuring -------------------------------------------------------------------------------------------------------

def measure(options, subjects):
    steps = [(depth, subject) for depth in [None, *options.depths] for subject in subjects]
    total = options.repetitions * len(steps)
    for index, (depth, subject) in enumerate(steps * options.repetitions):
        run = timed(options, subject.command(depth))
        subject.add(depth, run)
        where = "start" if depth is None else f"depth {depth}"
        progress(f"[{index + 1}/{total}] {subject.name}, {where}: {run['seconds']:.1f} s")


def figure(processes):
    """Of each process the median, of those the median again: a process counts once, however many samples it took.
    Disturbed processes count only where no other is left."""
    counted = [p for p in processes if p["others_share"] <= QUIET] or processes
    everything = [sample for p in counted for sample in p["samples"]]
    return {"median": statistics.median(statistics.median(p["samples"]) for p in counted), "min": min(everything),
            "max": max(everything), "counted": len(counted), "others_share": max(p["others_share"] for p in counted),
            "processes": processes}


def better(test, a, b):
    return (a["median"] < b["median"]) if test == "start" else (a["median"] > b["median"])


def rows_of(subjects, depths, names):
    """One row a test and depth. Of the subjects that share a column the better one's figure counts, cell by cell."""
    rows = []
    for test in TESTS:
        for depth in [0] if test == "start" else depths:
            row = {"test": test, "depth": depth, "unit": "s" if test == "start" else "tok/s", "columns": {}}
            for subject in subjects:
                if (test, depth) not in subject.cells:
                    continue
                cell = {**figure(subject.cells[test, depth]), "subject": subject.name}
                del cell["processes"]  # the subject keeps them
                known = row["columns"].get(subject.column)
                if known is None or better(test, cell, known):
                    row["columns"][subject.column] = cell
            add_ratios(row, names)
            rows.append(row)
    return rows


def add_ratios(row, names):
    """How many times as fast as the best of the peer's columns; above 1 Loci is faster."""
    cells = row["columns"]
    best = None
    for name in names["peer"]:
        if best is None or better(row["test"], cells[name], cells[best]):
            best = name
    row["best_peer"] = best
    for name in names["own"]:
        own, peer = cells[name]["median"], cells[best]["median"]
        cells[name]["ratio"] = peer / own if row["test"] == "start" else own / peer


# --- what ran where --------------------------------------------------------------------------------------------------

def digest(path):
    checksum = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            checksum.update(block)
    return checksum.hexdigest()


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    known = set(re.search(r"^flags\s*:(.*)$", info, re.M).group(1).split())
    memory = int(re.search(r"(\d+)", pathlib.Path("/proc/meminfo").read_text(encoding="utf-8")).group(1))
    return {"processor": re.search(r"^model name\s*:\s*(.*)$", info, re.M).group(1), "cores": os.cpu_count(),
            "family_model_stepping": [int(re.search(rf"^{key}\s*:\s*(\d+)$", info, re.M).group(1))
                                      for key in ("cpu family", "model", "stepping")],
            "memory_gib": round(memory / 2**20, 1), "flags": [flag for flag in FLAGS if flag in known],
            "system": f"{platform.system()} {platform.release().split('-')[0]}", "load_at_start": os.getloadavg()[0]}


def shown(command):
    """A command as somebody else would type it: programs and files by their names alone."""
    return shlex.join(pathlib.Path(word).name if isinstance(word, pathlib.Path) else str(word) for word in command)


def context_length(options):
    metadata = json.loads(output_of([options.loci, "inspect", "-m", options.model, "--json"]))["metadata"]
    return metadata.get(f"{metadata.get('general.architecture')}.context_length")


def fitting(options, depths):
    """Depths at which the model was trained to work: a deeper one is lowered, for both engines alike."""
    limit = context_length(options)
    room = None if limit is None else (limit - max(options.prompt, options.gen + 1) - 2) // 64 * 64
    fit = []
    for depth in depths:
        if room is not None and depth > room:
            progress(f"depth {depth} lowered to {room}: the context is {limit} tokens, and the test needs some")
            depth = room
        if depth not in fit:
            fit.append(depth)
    return fit


# --- what is told ----------------------------------------------------------------------------------------------------

def report(options, host, subjects, rows):
    """Everything that was measured, and what somebody else needs to measure it again."""
    depths = [None, *options.depths]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": host,
        "versions": {"loci": output_of([options.loci, "--version"]).strip(),
                     "checkout": output_of(["git", "-C", ROOT, "describe", "--always", "--dirty"]).strip(),
                     "peer": (options.peer / "version.txt").read_text(encoding="utf-8").strip()},
        "files": {s.file.name: {"bytes": s.file.stat().st_size, "sha256": digest(s.file)} for s in subjects},
        **{key: getattr(options, key) for key in ("threads", "prompt", "gen", "depths", "repetitions", "samples")},
        **{key: statistics.median(run[key] for s in subjects for run in s.runs if key in run) for key in ROOF},
        "others_share_max": max(cell["others_share"] for row in rows for cell in row["columns"].values()),
        "counted_least": min(cell["counted"] for row in rows for cell in row["columns"].values()),
        "rows": rows,
        "subjects": {s.name: {"commands": [shown(s.command(depth)) for depth in depths],
                              "cells": [{"test": t, "depth": d, **figure(p)} for (t, d), p in s.cells.items()],
                              "runs": s.runs} for s in subjects},
    }


def number(value, unit):
    return f"{value:.2f}" if unit == "s" else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def table(rows, names):
    columns = [*names["peer"], *names["own"]]
    lines = ["| test | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        title = "start and one token, s" if row["test"] == "start" else f"{row['test']} @{row['depth']}, tok/s"
        line = [title]
        for name in columns:
            cell = row["columns"][name]
            flash = re.search(r"-fa (\d)", cell["subject"])
            note = f" (fa {flash.group(1)})" if flash else f" (x{cell['ratio']:.2f})"
            disturbed = "~" if cell["others_share"] > QUIET else ""
            line.append(disturbed + number(cell["median"], row["unit"]) + note)
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines)


def remarks(result):
    reads, int8, fp32 = (result[key] for key in ROOF)
    others, least, most = result["others_share_max"], result["counted_least"], result["repetitions"]
    count = f"{least} to {most}" if least < most else f"{most}"
    return (f"Medians of {count} processes (~: disturbed), beside which others used at most {others:.0%} of the time.\n"
            f"Roof: {reads:.1f} GB/s of reads, {int8:.0f} GMAC/s of int8, {fp32:.0f} GMAC/s of fp32.")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=pathlib.Path, required=True, help="GGUF file that both engines read")
    parser.add_argument("--requantize", default="", metavar="TYPE,...",
                        help="llama.cpp also reads the model in these types (Q4_0), made with its own llama-quantize")
    parser.add_argument("--loci", type=pathlib.Path, default=ROOT / "build/cpu/loci")
    parser.add_argument("--peer", type=pathlib.Path, default=ROOT / "build/peers/llama_cpp",
                        help="where build.sh built llama.cpp")
    parser.add_argument("--stores", default="kv16,kv8,kv4", help="stores of Loci's cache")
    parser.add_argument("--activations", default="", metavar="TYPE,...",
                        help="Loci's columns with these activations (int16,int8); default: as Loci chooses")
    parser.add_argument("--depth", default="0,8192", help="tokens in the cache before a test")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--gen", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3, help="processes for each cell, in turns")
    parser.add_argument("--samples", type=int, default=3, 
                        help="measurements in a process, an odd number; their median counts")
    parser.add_argument("--tries", type=int, default=3, 
                        help=f"how often to run a process while others use over {QUIET:.0%}% of the machine")
    parser.add_argument("--quick", action="store_true", help="one repetition")
    parser.add_argument("--prefix", type=shlex.split, default=[], metavar="COMMAND",
                        help="put before every timed command, like 'taskset -c 0,1'")
    parser.add_argument("-o", "--output", type=pathlib.Path, 
                        help="default: bench/results/llama_cpp-MODEL-PROCESSOR.json")
    options = parser.parse_args()
    if options.quick:
        options.repetitions = 1
    if options.samples % 2 == 0:
        parser.error(f"--samples {options.samples}: the median needs an odd number")
    for path in (options.model, options.loci, options.peer / "build/bin/llama-bench"):
        if not path.exists():
            parser.error(f"there is no {path}")
    options.depths = fitting(options, [int(depth) for depth in options.depth.split(",")])
    return options


def default_output(kind, options, processor):
    slug = re.sub(r"[^a-z0-9]+", "-", processor.lower()).strip("-")
    return ROOT / "bench/results" / f"{kind}-{options.model.stem}-{slug}.json"


def main():
    options = arguments()
    host = machine()
    peers = llama_subjects(options, options.model, "llama.cpp")
    for kind in filter(None, options.requantize.split(",")):
        peers += llama_subjects(options, requantized(options, kind), f"llama.cpp {kind}")
    own = [loci_subject(options, store, kind)
           for kind in options.activations.split(",") for store in options.stores.split(",")]
    names = {"peer": list(dict.fromkeys(s.column for s in peers)), "own": [s.column for s in own]}
    measure(options, interleaved(peers, own))

    rows = rows_of(peers + own, options.depths, names)
    result = report(options, host, peers + own, rows)
    output = options.output or default_output("llama_cpp", options, host["processor"])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{options.model.name}, {options.threads} threads, {host['processor']}; {result['versions']['peer']}; "
          f"{result['versions']['loci']}\n\n{table(rows, names)}\n\n{remarks(result)}")
    progress(f"figures in {output}")


if __name__ == "__main__":
    main()
