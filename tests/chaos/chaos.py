#!/usr/bin/env python3
"""A server under everything that goes wrong at once: clients that leave, requests from a fuzzer, pages that cannot be had, kill -9 and
restarts on the same snapshots, a disk that is full. No crash, no request without an end, no wrong text, all pages back in the end, and
snapshots that are whole.

    python3 tests/chaos/chaos.py --loci build/cpu/loci MODEL [--seconds 600] [--seed N]

What is tolerated is named: answers with 400 limit_exceeded, 429, 503 and 504, and broken connections around a kill. The full disk is a
tmpfs of 2 MB, which needs the right to mount; without it that part says that it was left out.
"""
import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "serve"))
from served import Served  # noqa: E402

WORDS = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
TEMPLATE = pathlib.Path(__file__).resolve().parents[1] / "data" / "chat" / "smollm2.jinja"
TEXT_PATH, CHAT_PATH = "/v1/completions", "/v1/chat/completions"
PLANS = ["dense", "store=kv8", "store=kv4", "retain=snapkv(budget=48,window=8)", "retain=streaming(sinks=4,window=60)",
         "select=decode:tokenselect(k=64)"]
TOLERATED = {400, 429, 503, 504}
STUCK_SECONDS = 120


class Chaos:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.counts = collections.Counter()
        self.failures = []
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.killing = threading.Event()
        self.server = None

    def fail(self, what):
        with self.lock:
            self.failures.append(what)
        print(f"FAILED: {what}", flush=True)

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def start(self, folder, *more):
        return Served(self.options.loci, self.options.model, "--ctx", "1024", "--batch", "8", "--kv-memory", "6M", "--queue", "64",
                      "--store", folder, "--store-bytes", "64M", "--request-seconds", "60", "--chat-template", str(TEMPLATE), *more).__enter__()

    def jobs(self):
        """Requests whose answers are known: what a server without any trouble says, one after the other."""
        out = []
        for i in range(24):
            text = f"Story {i % 12}. " + WORDS * (1 + 3 * i % 9)
            # Of the conversations, whose answers the server reads while nobody waits, every other one is longer than a block.
            asked = {"messages": [{"role": "user", "content": text}]} if i % 4 == 3 else {"prompt": text}
            out.append((CHAT_PATH if i % 4 == 3 else TEXT_PATH,
                        {**asked, "max_tokens": 8 + i % 5 * 8 + i % 8 // 7 * 64, "temperature": 0 if i % 3 else 0.8, "seed": i, "ignore_eos": True,
                         "attention": PLANS[i % len(PLANS)]}))
        with tempfile.TemporaryDirectory() as folder:
            server = self.start(folder)
            texts = [self.text_of(server.json("POST", path, body)["choices"][0]) for path, body in out]
            server.__exit__()
        return [(path, body, text) for (path, body), text in zip(out, texts)]

    @staticmethod
    def text_of(choice):
        """Of an answer's choice or a stream's piece, of text or of chat."""
        said = choice if "text" in choice else choice.get("message") or choice.get("delta") or {}
        return said.get("text", said.get("content")) or ""

    # What clients do. Each runs until the end, on whatever server there is.

    def loop(self, name, act):
        source = random.Random(f"{self.options.seed} {name}")
        while not self.stop.is_set():
            if self.killing.is_set():
                time.sleep(0.02)
                continue
            server = self.server
            begin = time.monotonic()
            try:
                act(server, source)
            except (OSError, http.client.HTTPException, json.JSONDecodeError, AssertionError) as error:
                if time.monotonic() - begin > STUCK_SECONDS:
                    self.fail(f"{name}: no answer in {time.monotonic() - begin:.0f} s: {error!r}")
                elif server is self.server and not self.killing.is_set() and server.process.poll() is None:
                    # A kill may have begun while this was asked: look again in a moment.
                    time.sleep(0.3)
                    if server is self.server and not self.killing.is_set():
                        self.fail(f"{name}: {error!r}")
                self.count("broken connections")

    def ask(self, server, source):
        path, job, text = source.choice(self.known)
        if source.random() < 0.5:
            connection = server.connect(STUCK_SECONDS)
            connection.request("POST", path, json.dumps({**job, "stream": True}), server.headers())
            reply = connection.getresponse()
            data = reply.read().decode()
            connection.close()
            if reply.status != 200:
                return self.refused(reply.status, data)
            events = [json.loads(line[6:]) for line in data.splitlines() if line.startswith("data: {")]
            errors = [e["error"] for e in events if "error" in e]
            if errors:
                return self.refused(400 if errors[0]["code"] == "limit_exceeded" else 504, errors[0])
            if "data: [DONE]" not in data:
                raise http.client.IncompleteRead(data[-100:].encode())
            said = "".join(self.text_of(c) for e in events for c in e["choices"])
        else:
            status, _, data = server.ask("POST", path, job, timeout=STUCK_SECONDS)
            if status != 200:
                return self.refused(status, data)
            said = self.text_of(json.loads(data)["choices"][0])
        self.count("right texts" if said == text else "wrong texts")
        if said != text:
            self.fail(f"wrong text under {job['attention']}: {said[:80]!r} instead of {text[:80]!r}")

    def refused(self, status, data):
        self.count(f"answers with {status}")
        if status not in TOLERATED or (status == 400 and "limit_exceeded" not in str(data)):
            self.fail(f"status {status}: {str(data)[:300]}")

    def leave(self, server, source):
        path, job, _ = source.choice(self.known)
        connection = server.connect(STUCK_SECONDS)
        connection.request("POST", path, json.dumps({**job, "max_tokens": 400, "stream": source.random() < 0.7}), server.headers())
        if source.random() < 0.6:
            reply = connection.getresponse()
            for _ in range(source.randrange(6)):
                reply.readline()
        time.sleep(source.random() * 0.2)
        connection.close()
        self.count("clients that left")

    def fuzz(self, server, source):
        body = json.dumps(source.choice(self.known)[1]).encode()
        body = bytearray(body)
        for _ in range(source.randrange(1, 8)):
            at = source.randrange(len(body))
            kind = source.randrange(4)
            if kind == 0:
                body[at] = source.randrange(256)
            elif kind == 1:
                del body[at:at + source.randrange(1, 20)]
            elif kind == 2:
                body[at:at] = source.choice([b"[" * 200, b"1e999", b'"\\ud800"', b"\xff", b"null", b"-1", b"{}"])
            else:
                body[at:at] = body[at:at + source.randrange(1, 40)]
            body = body or bytearray(b"{")
        path = source.choice([TEXT_PATH, CHAT_PATH, "/v1/responses", "/v1/embeddings"])
        status, _, data = server.ask("POST", path, bytes(body), timeout=STUCK_SECONDS)
        self.count(f"fuzzed answers with {status}")
        if status >= 500 and status not in TOLERATED:
            self.fail(f"{path} {bytes(body)[:300]!r}: {status} {data[:300]!r}")

    # What happens to the server.

    def settle(self, server):
        """Nobody asks any more: everything ends, and no page is held but by the prefix cache."""
        end = time.monotonic() + STUCK_SECONDS
        while True:
            left = server.metric("loci_sequences_running") + server.metric("loci_requests_waiting")
            held, prefix = server.metric("loci_kv_pages_in_use"), server.metric("loci_prefix_pages")
            if left == 0 and held == prefix:
                return
            if time.monotonic() > end:
                return self.fail(f"{left} requests are left, {held} pages are in use, the prefix cache holds {prefix}")
            time.sleep(0.1)  # answers may still be read ahead

    def run_clients(self, seconds, kill_every, folder, *options):
        self.stop.clear()
        self.server = self.start(folder, *options)
        acts = [("ask", self.ask)] * 5 + [("leave", self.leave)] * 2 + [("fuzz", self.fuzz)] * 2
        threads = [threading.Thread(target=self.loop, args=(f"{name} {i}", act), daemon=True) for i, (name, act) in enumerate(acts)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.failures:
            time.sleep(min(kill_every * self.random.uniform(0.5, 1.5), max(0.1, end - time.monotonic())))
            if self.server.process.poll() is not None:
                self.fail(f"the server ended with {self.server.process.returncode}: {''.join(self.server.log)[-1500:]}")
                break
            if time.monotonic() < end:
                self.killing.set()
                self.server.process.kill()
                self.server.process.wait()
                self.count("kills")
                self.server = self.start(folder, *options)
                self.killing.clear()
        self.stop.set()
        for thread in threads:
            thread.join(STUCK_SECONDS)
            if thread.is_alive():
                self.fail("a client has waited for its answer for too long")
        if self.server.process.poll() is None:
            self.settle(self.server)
            self.server.__exit__()
            if self.server.process.returncode != 0:
                self.fail(f"the server ended with {self.server.process.returncode}")
        self.count_log(self.server)

    def count_log(self, server):
        damaged = sum("snapshot" in line and "removed" in line for line in server.log)
        self.counts["snapshots that were damaged"] += damaged

    def check_snapshots(self, folder):
        """They are whole, and what comes back from them says what was said."""
        server = self.start(folder)
        for path, job, text in self.known:
            out = server.json("POST", path, job)
            if self.text_of(out["choices"][0]) != text:
                self.fail(f"wrong text from a snapshot under {job['attention']}")
        self.counts["blocks that came from disk"] = int(server.metric("loci_snapshot_blocks_read_total"))
        if server.metric("loci_snapshots_damaged_total") > 0:
            self.fail("a snapshot is damaged")
        if self.counts["blocks that came from disk"] == 0:
            self.fail("nothing came back from disk")
        server.__exit__()

    def fill_disk(self, seconds):
        with tempfile.TemporaryDirectory() as folder:
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, text=True)
            if mounted.returncode != 0:
                print(f"the full disk was left out: {mounted.stderr.strip()}")
                return
            try:
                self.run_clients(seconds, seconds * 10, folder)
                self.counts["failures to write a snapshot"] = sum("cannot be written" in line for line in self.server.log)
                if self.counts["failures to write a snapshot"] == 0:
                    self.fail("the disk was never full")
            finally:
                subprocess.run(["umount", folder], check=True)

    def run(self):
        begin = time.monotonic()
        self.known = self.jobs()
        seconds = self.options.seconds
        with tempfile.TemporaryDirectory() as folder:
            self.run_clients(seconds * 0.75, max(3, seconds / 40), folder, "--fail-pages", "97")
            if not self.failures:
                self.check_snapshots(folder)
        if not self.failures:
            self.fill_disk(seconds * 0.25)
        if self.counts["right texts"] == 0:
            self.fail("no request was answered")
        for what, count in sorted(self.counts.items()):
            print(f"{count:8d} {what}")
        print(f"chaos: {len(self.failures)} failures in {time.monotonic() - begin:.0f} s, seed {self.options.seed}")
        return 1 if self.failures else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loci", required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("model")
    sys.exit(Chaos(parser.parse_args()).run())
