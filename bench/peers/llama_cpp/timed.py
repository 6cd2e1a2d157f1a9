#!/usr/bin/env python3
"""Runs one command and says how it went, as JSON: seconds, and how much of the machine others used meanwhile.

    python3 bench/peers/llama_cpp/timed.py COMMAND...

A program of its own, so that whatever stands before it (a lock, taskset) is not timed. Standard library only.
"""
import json
import os
import resource
import subprocess
import sys
import time


def busy_seconds():
    """Processor time that everybody used since the machine started, time taken by its host included."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def main():
    busy, started = busy_seconds(), time.monotonic()
    done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seconds, busy = time.monotonic() - started, busy_seconds() - busy
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 2 / os.sysconf("SC_CLK_TCK")  # what rounding may add
    others = max(0.0, busy - used.ru_utime - used.ru_stime - ticks) / (seconds * os.cpu_count())
    json.dump({"status": done.returncode, "output": done.stdout, "errors": done.stderr[-800:], "seconds": seconds,
               "others_share": others}, sys.stdout)


if __name__ == "__main__":
    main()
