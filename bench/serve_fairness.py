#!/usr/bin/env python3
"""What a long prompt costs those who are already being answered: the time between their tokens, before it comes and while it is
read, beside the time of one chunk of it.

    python3 bench/serve_fairness.py --loci build/cpu/loci -m smollm2 --text novel.txt

Streams write without end; then one prompt of --long tokens comes, which is first read on an idle server to know what a chunk of it
takes. Prints one JSON object, times in seconds. Standard library only.
"""
import argparse
import json
import os
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "serve"))
from served import Served  # noqa: E402


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class Stream:
    """One answer, with the times at which its pieces came."""

    def __init__(self, server, body):
        self.times = []
        self.connection = server.connect(600)
        self.connection.request("POST", "/v1/completions", json.dumps({**body, "stream": True}).encode(), server.headers())
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        reply = self.connection.getresponse()
        if reply.status != 200:
            sys.exit(f"serve_fairness.py: {reply.status} {reply.read()!r}")
        for line in reply:
            if line.startswith(b"data: {"):
                self.times.append(time.monotonic())

    def gaps(self, begin, end):
        inside = [t for t in self.times if begin <= t <= end]
        return [b - a for a, b in zip(inside, inside[1:])]


def counted(server, text):
    """Its tokens; more than any context holds, if they are more than the server's does."""
    status, _, data = server.ask("POST", "/v1/completions/tokens", {"prompt": text})
    return json.loads(data)["prompt_tokens"] if status == 200 else 1 << 40


def cut(server, text, tokens):
    low, high = 1, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if counted(server, text[:middle]) <= tokens else (low, middle)
    return text[:low]


def read_long(server, text):
    """(begin, first token) of a prompt."""
    begin = time.monotonic()
    stream = Stream(server, {"prompt": text, "max_tokens": 1})
    stream.thread.join()
    return begin, stream.times[0]


def measure(options):
    text = options.text.read_text(encoding="utf-8")
    with Served(options.loci, options.model, "--ctx", str(options.long + 256), "--batch", str(options.streams + 1), "--chunk", str(options.chunk),
                "--kv-memory", options.kv_memory, "--no-prefix-cache", "--quiet", threads=str(options.threads)) as server:
        long = cut(server, text[-8 * options.long:], options.long)
        chunks = -(-counted(server, long) // options.chunk)
        begin, end = read_long(server, long)
        alone = end - begin
        # What its last chunk takes is what the whole takes beyond a prompt that is one chunk shorter.
        begin, end = read_long(server, cut(server, long, options.long - options.chunk))
        last = alone - (end - begin)
        # One word over and over: a token that ends within a character would bring no piece, and its gap be two passes long.
        body = {"max_tokens": options.long, "ignore_eos": True, "logit_bias": {str(options.token): 100}}
        streams = [Stream(server, {"prompt": f"Once upon a time, number {i}", **body}) for i in range(options.streams)]
        time.sleep(2)
        quiet_begin = time.monotonic()
        time.sleep(options.seconds)
        quiet_end = time.monotonic()
        begin, end = read_long(server, long)
        quiet = [gap for s in streams for gap in s.gaps(quiet_begin, quiet_end)]
        during = [gap for s in streams for gap in s.gaps(begin, end)]
        for s in streams:
            s.connection.sock.close()
    added = percentile(during, 0.99) - percentile(quiet, 0.99)
    return {"streams": options.streams, "prompt_tokens": options.long, "chunk": options.chunk, "threads": options.threads,
            "alone_seconds": alone, "chunk_seconds": {"mean": alone / chunks, "last": last}, "beside_seconds": end - begin,
            "gaps": {"before": {"count": len(quiet), **{f"p{int(100 * s)}": percentile(quiet, s) for s in (0.5, 0.95, 0.99)}, "most": max(quiet)},
                     "during": {"count": len(during), **{f"p{int(100 * s)}": percentile(during, s) for s in (0.5, 0.95, 0.99)}, "most": max(during)}},
            "added_at_p99_seconds": added, "added_at_p99_in_chunks": {"mean": added * chunks / alone, "last": added / last}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loci", required=True)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--text", required=True, type=pathlib.Path, help="the long prompt is its end")
    parser.add_argument("--long", default=7936, type=int, help="tokens of the long prompt (7936)")
    parser.add_argument("--chunk", default=512, type=int, help="most prompt tokens of a pass (512)")
    parser.add_argument("--token", default=300, type=int, help="of whole characters, which the streams write (300)")
    parser.add_argument("--streams", default=8, type=int)
    parser.add_argument("--seconds", default=10, type=float, help="of writing before the prompt comes (10)")
    parser.add_argument("--threads", default=os.cpu_count(), type=int)
    parser.add_argument("--kv-memory", default="2G")
    print(json.dumps(measure(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
