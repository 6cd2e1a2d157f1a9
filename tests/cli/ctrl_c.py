#!/usr/bin/env python3
"""Presses Ctrl-C in every phase of `loci run` and looks at what it leaves. Standard library only.

    python3 tests/cli/ctrl_c.py --loci build/cpu/loci MODEL

A signal in the load, in the prompt and in the answer ends the program with status 130 and one whole JSON object on stdout:
an error of the code "cancelled" from a load, else a result whose "finish" is "cancelled". Progress bars, which a terminal
on stderr makes visible, tell the phase. A signal that misses its phase is tried again; the status and the JSON
must hold wherever it comes.
"""
import argparse
import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time

BOOK = pathlib.Path(__file__).resolve().parents[2] / "data" / "books" / "moby-dick.txt"
TRIES, PATIENCE = 10, 120
PROMPT_BYTES = 200_000  # seconds of reading
SHORT = ["-p", "Call me Ishmael."]
LONG = ["-f", "-", "--ctx", "131072", "--chunk", "64"]

# Phase, arguments, what stderr shows when it has begun or is near, seconds to wait from there (longer with each try),
# whether an outcome lies in it.
PHASES = [
    ("load", [*SHORT, "-n", "8"], b"loading", 0.0, lambda out: out.get("error", {}).get("code") == "cancelled"),
    ("prompt", [*LONG, "-n", "8"], b"reading", 0.3,
     lambda out: out.get("finish") == "cancelled" and out["generated_tokens"] == 0),
    ("answer", [*SHORT, "-n", "100000", "--ignore-eos", "--ctx", "110000"], b"100%", 0.5,
     lambda out: out.get("finish") == "cancelled" and out["generated_tokens"] > 0),
]


def wait_for(terminal, label):
    """Reads the terminal until `label` shows; False if the program ends before."""
    seen, end = b"", time.monotonic() + PATIENCE
    while label not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        if not ready:
            raise RuntimeError(f"nothing shows {label.decode()!r} in {PATIENCE} s: {seen[-300:]!r}")
        try:
            seen += os.read(terminal, 4096)
        except OSError:  # the other side was closed
            return False
    return True


def interrupt(binary, model, document, arguments, label, delay):
    """(status, stdout) of a run that was interrupted `delay` seconds after `label` showed."""
    terminal, other = pty.openpty()
    command = [binary, "run", "-m", model, "--raw", "--json", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=other, stdin=document)
    os.close(other)
    try:
        if wait_for(terminal, label):
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
        return process.communicate(timeout=PATIENCE)[0], process.returncode
    finally:
        process.kill()
        os.close(terminal)


def try_phase(binary, model, document, arguments, label, delay, lies_in_phase):
    """None if Ctrl-C in this phase does what it should, else what it did."""
    for attempt in range(1, TRIES + 1):
        document.seek(0)
        output, status = interrupt(binary, model, document, arguments, label, delay * attempt)
        try:
            outcome = json.loads(output)
        except ValueError:
            return f"no JSON on stdout: {output[-300:]!r}, status {status}"
        if status == 0 and outcome.get("finish") != "cancelled":
            continue  # done before the signal came
        if status != 130:
            return f"status {status}, not 130: {outcome}"
        if lies_in_phase(outcome):
            return None
    return f"{TRIES} signals missed it; the last left {outcome}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loci", required=True)
    parser.add_argument("model")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryFile() as document:
        document.write(BOOK.read_bytes()[:PROMPT_BYTES])
        document.flush()
        for name, *phase in PHASES:
            began = time.monotonic()
            problem = try_phase(options.loci, options.model, document, *phase)
            failed += problem is not None
            print(f"Ctrl-C in the {name}: {problem or 'ok'} ({time.monotonic() - began:.1f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
