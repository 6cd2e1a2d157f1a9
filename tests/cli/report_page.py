#!/usr/bin/env python3
"""Opens the page that `loci eval --report` writes in headless Chromium, without a network, and looks at what it draws.

    python3 tests/cli/report_page.py --loci build/cpu/loci --chromium /usr/bin/chromium MODEL [--screenshot OUT.png]

The page must say that it is ready, hold a drawn chart, a heat map and every prompt, and the console must stay empty: an error of
the program, or anything that the page's policy forbids, such as a request, would be told there.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"]
EVALUATION = ["--suite", "ruler:niah_single_1,niah_multikey_2", "--lengths", "384,512", "--prompts", "4", "--depths", "even",
              "--plans", "dense", "store=kv4"]
PROMPTS = 2 * 2 * 4 * 2  # tasks, lengths, prompts, plans


def browse(chromium, folder, page, *what):
    done = subprocess.run([chromium, *FLAGS, f"--user-data-dir={folder}/profile", *what, page.as_uri()],
                          capture_output=True, text=True, timeout=300)
    told = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    if done.returncode or told:
        sys.exit(f"chromium left {done.returncode}; its console says: {told or done.stderr[-2000:]}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--loci", required=True)
    parser.add_argument("--chromium", required=True)
    parser.add_argument("--screenshot", type=pathlib.Path)
    parser.add_argument("model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "report.html"
        subprocess.run([options.loci, "eval", *EVALUATION, "-m", options.model, "--report", page], check=True)
        dom = browse(options.chromium, folder, page, "--dump-dom")
        wanted = {
            "the page is ready": 'data-ready="yes"' in dom,
            "five charts have a size": len(re.findall(r'<canvas width="[1-9]\d+" height="[1-9]\d+"', dom)) == 5,
            "a heat map for each task and plan": dom.count('<table class="heat">') == 4,
            "every prompt is there": dom.count("<details>") == PROMPTS,
        }
        for what, holds in wanted.items():
            print("ok  " if holds else "FAIL", what)
        if options.screenshot:
            browse(options.chromium, folder, page, "--window-size=1250,1900", f"--screenshot={options.screenshot.resolve()}")
        return 0 if all(wanted.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
