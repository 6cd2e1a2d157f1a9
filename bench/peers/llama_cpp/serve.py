#!/usr/bin/env python3
"""Loci's server and llama-server in turns, on the same GGUF file under the same load, and what followers of a long prompt wait.

    bench/peers/llama_cpp/build.sh
    python3 bench/peers/llama_cpp/serve.py -m smollm2.gguf --text novel.txt

First load: --clients streams at once, prompts of 1,024 tokens of which no two begin alike, 64 new tokens each. Second load:
prompts that share 4,096 tokens and end in a line of their own; one alone reads the prefix, four follow it one by one, then all
clients at once (Loci only: llama-server reads the prefix anew in every slot, which takes a quarter of an hour). Both servers are
loaded by `loci bench serve`, which takes their times. Prints a Markdown table; every figure goes to --out. Standard library only.
"""
import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from compare import default_output, machine, output_of, shown  # noqa: E402

PROMPT, ANSWER, PREFIX = 1024, 64, 4096


def post(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.load(reply)


class Server:
    """`with Server(command, port) as url:` serves until the block ends."""

    def __init__(self, command, port):
        self.command, self.url = [str(part) for part in command], f"http://127.0.0.1:{port}"

    def __enter__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        for _ in range(600):
            try:
                urllib.request.urlopen(self.url + "/v1/models", timeout=5)
                urllib.request.urlopen(self.url + "/health", timeout=5)  # of llama-server: 503 while it loads
                return self.url
            except OSError:
                if self.process.poll() is not None:
                    self.log.seek(0)
                    sys.exit(f"serve.py: {self.command[0]} ended with {self.process.returncode}: {self.log.read()[-1500:]}")
                time.sleep(0.1)
        sys.exit(f"serve.py: {self.command[0]} does not answer")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def loci_server(options, context, port):
    # Room for every client's whole context, as llama-server has it.
    return [options.loci, "serve", "-m", options.model, "--threads", options.threads, "--ctx", context, "--batch", options.clients,
            "--kv-memory", options.kv_memory, "--port", port, "--quiet"]


def llama_server(options, context, port):
    return [options.peer / "build/bin/llama-server", "-m", options.model, "-t", options.threads, "-tb", options.threads, "-np", options.clients,
            "-c", context * options.clients, "--port", port, "--no-webui"]


def cut(url, text, tokens):
    """The beginning of a text that has so many tokens, or the next more that whole words have."""
    words = text.split(" ")
    low, high = 1, len(words)
    while low < high:
        middle = (low + high) // 2
        if post(url, "/v1/completions/tokens", {"prompt": " ".join(words[:middle])})["prompt_tokens"] < tokens:
            low = middle + 1
        else:
            high = middle
    return " ".join(words[:low])


def make_prompts(options):
    """Of both loads, cut by Loci's tokenizer; llama-server counts the same tokens, which its usage shows."""
    text = options.text.read_text(encoding="utf-8")
    port = free_port()
    with Server([options.loci, "serve", "-m", options.model, "--ctx", 2 * PREFIX, "--batch", 1, "--port", port, "--quiet"], port) as url:
        step = len(text) // (options.requests + 1)
        alone = [cut(url, text[i * step:i * step + 6 * PROMPT], PROMPT) for i in range(options.requests)]
        prefix = cut(url, text[-6 * PREFIX:], PREFIX)
    return alone, [f"{prefix}\n\nIn chapter {i}, the captain said:" for i in range(options.requests + 5)]


def load(options, url, prompts, clients):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(prompt) + "\n" for prompt in prompts)
        file.flush()
        return json.loads(output_of([options.loci, "bench", "serve", "--url", url, "--prompts", file.name, "--requests", len(prompts),
                                     "--concurrency", clients, "--max-tokens", ANSWER, "--json"]))


def measure(options, command_of, alone, shared):
    out = {}

    def part(name, url, prompts, clients):
        out[name] = load(options, url, prompts, clients)
        print(f"serve.py: {name}: {out[name]['seconds']:.1f} s", file=sys.stderr, flush=True)

    port = free_port()
    with Server(command_of(options, PROMPT + 256, port), port) as url:
        load(options, url, ["Once"], 1)
        part("alone", url, alone, options.clients)
    port = free_port()
    with Server(command_of(options, PREFIX + 256, port), port) as url:
        load(options, url, ["Once"], 1)
        part("cold", url, shared[:1], 1)
        part("follower", url, shared[1:5], 1)
        if command_of is loci_server:
            part("followers", url, shared[5:], options.clients)
    return out


def row(name, run):
    first = lambda part, share: f"{run[part]['first_token_seconds'][share]:.3f}" if part in run else ""  # noqa: E731
    tokens = run["alone"]["prompt_tokens"] + run["alone"]["completion_tokens"]
    return (f"| {name} | {run['alone']['output_tokens_per_second']:.1f} | {tokens / run['alone']['seconds']:.0f} | {first('alone', 'p50')} | "
            f"{first('alone', 'p95')} | {first('cold', 'p50')} | {first('follower', 'p50')} | {first('followers', 'p50')} | {first('followers', 'p95')} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True, type=pathlib.Path)
    parser.add_argument("--text", required=True, type=pathlib.Path, help="prompts are cut from it")
    parser.add_argument("--loci", default=ROOT / "build/cpu/loci", type=pathlib.Path)
    parser.add_argument("--peer", default=ROOT / "build/peers/llama_cpp", type=pathlib.Path)
    parser.add_argument("--clients", default=16, type=int)
    parser.add_argument("--requests", default=32, type=int, help="of each load")
    parser.add_argument("--rounds", default=1, type=int)
    parser.add_argument("--threads", default=os.cpu_count(), type=int)
    parser.add_argument("--kv-memory", default="3G")
    parser.add_argument("--out", type=pathlib.Path, help="default: bench/results/serve-MODEL-PROCESSOR.json")
    options = parser.parse_args()
    alone, shared = make_prompts(options)
    print("| server | output tok/s | all tok/s | first token p50 s | p95 | 4K cold | follower alone | followers p50 | p95 |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    runs = []
    for turn in range(options.rounds):
        for name, command_of in (("llama-server", llama_server), ("loci serve", loci_server)):
            run = measure(options, command_of, alone, shared)
            runs.append({"server": name, "round": turn, "command": shown(command_of(options, PROMPT + 256, "PORT")), **run})
            print(row(name, run), flush=True)
    host = machine()
    out = options.out or default_output("serve", options, host["processor"])
    out.write_text(json.dumps({"machine": host, "peer": (options.peer / "version.txt").read_text().strip(), "clients": options.clients, "requests": options.requests,
                               "threads": options.threads, "prompt": PROMPT, "answer": ANSWER, "prefix": PREFIX, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
