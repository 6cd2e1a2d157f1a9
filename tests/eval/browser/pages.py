#!/usr/bin/env python3
"""Opens the pages of an evaluation in a real browser and looks at what they draw: no error, and no way out to a network.

    python3 tests/eval/browser/pages.py --loci build/cpu/loci MODEL [--pictures FOLDER]

`loci eval --report` and `loci eval pareto --report` write the pages; headless Chromium opens each. It has a proxy that is this
program, so that every request it makes anywhere is seen. The console must stay empty: errors are told there, and whatever the
page's own policy forbids. Heat map and prompts are clicked. Two broken pages show that the test would notice. Exits with 77, which
ctest takes for "skipped", where there is no Chromium. --pictures keeps a picture of each page. Standard library only.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "browser"))
import chromium  # noqa: E402

EVALUATION = ["--suite", "ruler:niah_single_1,niah_multikey_2", "--lengths", "384,512", "--prompts", "4", "--depths", "even",
              "--plans", "dense", "store=kv4", "streaming(sinks=4,window=128)"]
TASKS, LENGTHS, PROMPTS, PLANS = 2, 2, 4, 3
PARETO_CHARTS = 3  # of each length
# Run behind the page's own program, on a copy: clicks, then writes what came of it where --dump-dom shows it.
CLICKS = """<script>
document.querySelector('.heat td[data-prompts]').click();
const shown = document.querySelectorAll('#prompts details').length;
const first = document.querySelector('#prompts details');
first.open = true;
setTimeout(() => {
  document.body.dataset.shown = shown;
  document.body.dataset.opened = first.querySelectorAll('dt').length;
  document.body.dataset.said = first.querySelector('pre').textContent.length > 0;
}, 200);
</script>"""


class Checks:
    def __init__(self):
        self.failed = 0

    def say(self, what, holds, seen=""):
        print("ok  " if holds else "FAIL", what, "" if holds else f": {seen}")
        self.failed += not holds

    def clean(self, name, told, asked):
        self.say(f"{name}: the console is empty", not told, told)
        self.say(f"{name}: nothing is asked of a network", not asked, asked)


def check_hosts(checks, page):
    named = chromium.ERRAND_HOSTS.findall(page.read_text())
    checks.say(f"{page.stem}: it names none of the browser's own hosts", not named, named)
    ahead = chromium.CONNECTS_AHEAD.findall(page.read_text())
    checks.say(f"{page.stem}: it asks for no connection ahead", not ahead, ahead)


def drawn(dom):
    return len(re.findall(r'<canvas width="[1-9]\d+" height="[1-9]\d+"', dom))


def check_report(browser, checks, page):
    dom, told, asked = browser.open(page, "--dump-dom")
    checks.clean("report", told, asked)
    checks.say("report: it is ready", 'data-ready="yes"' in dom)
    charts = TASKS + LENGTHS * PARETO_CHARTS
    checks.say(f"report: {charts} charts have a size", drawn(dom) == charts, drawn(dom))
    checks.say("report: a heat map for each task and plan", dom.count('<table class="heat">') == TASKS * PLANS)
    checks.say("report: every prompt is there", dom.count("<details>") == TASKS * LENGTHS * PROMPTS * PLANS, dom.count("<details>"))
    checks.say("report: a frontier for each length", dom.count('<table class="pareto">') == LENGTHS)
    clicked = page.with_name("clicked.html")
    clicked.write_text(page.read_text().replace("</body>", CLICKS + "</body>"))
    dom, told, asked = browser.open(clicked, "--dump-dom")
    checks.clean("report, clicked", told, asked)
    shown = re.search(r'data-shown="(\d+)"', dom)
    checks.say("report: a cell of the heat map shows its prompts", shown and 1 <= int(shown.group(1)) <= PROMPTS, shown)
    checks.say("report: a prompt opens", 'data-opened="4"' in dom and 'data-said="true"' in dom)


def check_pareto(browser, checks, page):
    dom, told, asked = browser.open(page, "--dump-dom")
    checks.clean("pareto", told, asked)
    checks.say("pareto: it is ready", 'data-ready="yes"' in dom)
    checks.say("pareto: every chart has a size", drawn(dom) == LENGTHS * PARETO_CHARTS, drawn(dom))
    checks.say("pareto: a table for each length", dom.count('<table class="pareto">') == LENGTHS)
    checks.say("pareto: a row a plan", dom.count("● </span>") == LENGTHS * PLANS, dom.count("● </span>"))
    checks.say("pareto: the frontier is marked", dom.count('<tr class="best">') >= LENGTHS)


def check_that_it_would_notice(browser, checks, page):
    text, broken = page.read_text(), page.with_name("broken.html")
    broken.write_text(text.replace("</body>", "<script>thereIsNoSuchFunction();</script></body>"))
    checks.say("an error of a program is noticed", browser.open(broken, "--dump-dom")[1])
    broken.write_text(text.replace("</body>", "<img src='http://example.org/a.png'></body>"))
    _, told, asked = browser.open(broken, "--dump-dom")
    checks.say("the page's policy forbids a request, and the console tells", told and not asked, asked)
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", broken.read_text())
    broken.write_text(open_page)
    _, _, asked = browser.open(broken, "--dump-dom")
    checks.say("without the policy, the proxy sees the request", any("example.org" in line for line in asked), asked)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--loci", required=True)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("model")
    options = parser.parse_args()
    program = chromium.find()
    if program is None:
        print("skipped:", chromium.HOW_TO_GET)
        return chromium.SKIPPED
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        report, pareto, results = (pathlib.Path(folder) / name for name in ("report.html", "pareto.html", "results.json"))
        subprocess.run([options.loci, "eval", *EVALUATION, "-m", options.model, "--report", report, "--json", results], check=True)
        subprocess.run([options.loci, "eval", "pareto", results, "--report", pareto], check=True)
        json.loads(results.read_text())
        browser = chromium.Dumper(program, folder)
        for page in (report, pareto):
            check_hosts(checks, page)
        check_report(browser, checks, report)
        check_pareto(browser, checks, pareto)
        check_that_it_would_notice(browser, checks, report)
        if options.pictures:
            for page, height in ((report, 1900), (pareto, 1400)):
                picture = options.pictures.resolve() / f"{page.stem}.png"
                browser.open(page, f"--window-size=1250,{height}", f"--screenshot={picture}")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
