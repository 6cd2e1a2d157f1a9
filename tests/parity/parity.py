#!/usr/bin/env python3
"""Compares `loci eval perplexity` with the goldens of the fp32 reference (tools/parity). Standard library only.

    python3 tests/parity/parity.py --loci build/cpu/loci CASE...        # or `local`, `download`, `all`

Checks, per model, activations and store: the mean absolute error of the next-token log-probability, the same top-1 token
wherever the reference's two best logits are more than 0.1 apart, and the rise of the mean NLL. Exit status 1 names what
missed its bound.
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "parity"
CLEAR_GAP = 0.1


class Bound:
    """None = not bounded. Plain rounding to 8 bits flips a near-tie now and then: `flips` is how many positions may differ."""

    def __init__(self, mean_abs=None, flips=None, nll_rise=None):
        self.mean_abs, self.flips, self.nll_rise = mean_abs, flips, nll_rise


EXACT = Bound(mean_abs=2e-3, flips=0)
ROUNDED = Bound(mean_abs=2e-2, flips=0)
KV4 = Bound(nll_rise=0.05)

TINY = {("f32", "kv16"): EXACT}
SMALL = {("f32", "kv16"): EXACT, ("f32", "kv8"): ROUNDED}
REAL = {("f32", "kv16"): EXACT, ("int16", "kv16"): ROUNDED, ("int16", "kv8"): ROUNDED}

# name: (model for -m, token ids, golden, needs a download, {(activations, store): bound})
CASES = {
    **{
        name: (DATA / name, DATA / name / "ids.json", DATA / name / "golden.json", False, TINY)
        for name in ("tiny-llama3", "tiny-llama-linear", "tiny-qwen2", "tiny-qwen3", "tiny-gemma3")
    },
    "stories": (ROOT / "models/stories260k.gguf", DATA / "stories.ids.json", DATA / "stories.golden.json", False, SMALL),
    "needle": ("needle", DATA / "needle.ids.json", DATA / "needle.golden.json", False, REAL),
    "smollm2": ("smollm2", DATA / "smollm2.ids.json", DATA / "smollm2.golden.json", True,
                {**REAL, ("int16", "kv4"): KV4}),
    "gemma3": ("gemma3", DATA / "gemma3.ids.json", DATA / "gemma3.golden.json", True, REAL),
}


def evaluate(loci, model, ids, activations, store):
    command = [loci, "eval", "perplexity", "-m", str(model), "--tokens", str(ids), "--per-token", "--json",
               "--activations", activations, "--attention", f"store={store}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=1800)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    return json.loads(done.stdout)


def compare(golden, result):
    """(mean |error|, top-1 changes where the reference is clear, rise of the mean NLL)"""
    nll, count = result["nll"], len(golden["nll"])
    if len(nll) != count or len(result["argmax"]) != count:
        raise RuntimeError(f"{len(nll)} log-probabilities and {len(result['argmax'])} top tokens for {count} predictions")
    differences = [a - b for a, b in zip(nll, golden["nll"])]
    flips = sum(
        gap > CLEAR_GAP and a != b for gap, a, b in zip(golden["gap"], result["argmax"], golden["argmax"])
    )
    return sum(map(abs, differences)) / count, flips, sum(differences) / count


def missed(bound, mean_abs, flips, rise):
    # `not <=`: a NaN misses every bound.
    if bound.mean_abs is not None and not mean_abs <= bound.mean_abs:
        yield f"mean |error| {mean_abs:.5f} > {bound.mean_abs}"
    if bound.flips is not None and not flips <= bound.flips:
        yield f"{flips} top-1 tokens differ, {bound.flips} may"
    if bound.nll_rise is not None and not rise <= bound.nll_rise:
        yield f"mean NLL rises by {rise:.4f} > {bound.nll_rise}"


def run(loci, name, models):
    model, ids, golden_path, _, bounds = CASES[name]
    if models is not None and isinstance(model, str):
        model = models / f"{model}.gguf"
    golden = json.loads(pathlib.Path(golden_path).read_text())
    good = True
    for (activations, store), bound in bounds.items():
        label = f"{name:18s} {activations:5s} {store:5s}"
        try:
            mean_abs, flips, rise = compare(golden, evaluate(loci, model, ids, activations, store))
        except (RuntimeError, KeyError, ValueError, subprocess.TimeoutExpired) as error:
            print(f"{label} FAILED: {error!r}")
            good = False
            continue
        faults = list(missed(bound, mean_abs, flips, rise))
        verdict = "FAILED: " + "; ".join(faults) if faults else "ok"
        print(f"{label} mean |error| {mean_abs:.5f}  top-1 changes {flips:3d}  NLL {rise:+.4f}  {verdict}", flush=True)
        good = good and not faults
    return good


def main():
    groups = {
        "local": [n for n, c in CASES.items() if not c[3]],
        "download": [n for n, c in CASES.items() if c[3]],
        "all": list(CASES),
    }
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--loci", required=True, help="the binary")
    arguments.add_argument("cases", nargs="+", choices=[*groups, *CASES], metavar="CASE")
    arguments.add_argument("--models", type=pathlib.Path, help="folder of NAME.gguf, instead of the user's cache")
    options = arguments.parse_args()
    names = [name for case in options.cases for name in groups.get(case, [case])]
    results = [run(options.loci, name, options.models) for name in names]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
