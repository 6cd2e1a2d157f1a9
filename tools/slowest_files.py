#!/usr/bin/env python3
"""Which files took the compiler longest in the last build of a build folder: tools/slowest_files.py BUILD [COUNT]"""

import pathlib
import sys


def build_times(log):
    """{output: seconds} of each output's last entry in a .ninja_log (start ms, end ms, mtime, output, command hash)."""
    times = {}
    for line in log.splitlines():
        fields = line.split("\t")
        if len(fields) == 5:
            times[fields[3]] = (int(fields[1]) - int(fields[0])) / 1000
    return times


def main(build, count=20):
    times = build_times((pathlib.Path(build) / ".ninja_log").read_text())
    print(f"{sum(times.values()):8.1f} s  {len(times)} outputs, all their times added up")
    for output, seconds in sorted(times.items(), key=lambda item: -item[1])[: int(count)]:
        print(f"{seconds:8.1f} s  {output}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
