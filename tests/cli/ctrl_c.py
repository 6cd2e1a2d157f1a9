#!/usr/bin/env python3
"""Presses Ctrl-C in every phase of `loci run` and in `loci pull`, and looks at what it leaves. Standard library only.

    python3 tests/cli/ctrl_c.py --loci build/cpu/loci MODEL

A signal in the load, in the prompt and in the answer ends the program with status 130 and one whole JSON object on stdout:
an error of the code "cancelled" from a load, else a result whose "finish" is "cancelled". Progress bars, which a terminal
on stderr makes visible, tell the phase. A signal that misses its phase is tried again; the status and the JSON
must hold wherever it comes. Nothing is broken then: the model's bytes are what they were, no file is left in the folder for
temporary ones, and the next run says what one before the signals said.

A pull, from a slow server on this machine, ends likewise with an error of the code "cancelled". No file stands under the
model's name then, and the next pull fetches the rest alone and gives the whole file.
"""
import argparse
import hashlib
import http.server
import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import tempfile
import threading
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


def interrupt(command, document, label, delay):
    """(stdout, status) of a command that was interrupted `delay` seconds after `label` showed."""
    terminal, other = pty.openpty()
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
        command = [binary, "run", "-m", model, "--raw", "--json", *arguments]
        output, status = interrupt(command, document, label, delay * attempt)
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


def answer(binary, model):
    command = [binary, "run", "-m", model, "--raw", "--json", *SHORT, "-n", "8", "--ignore-eos"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
    if done.returncode != 0:
        return f"status {done.returncode}: {done.stderr.decode()[-300:]}"
    return json.loads(done.stdout)["text"]


def try_phases(binary, model, report):
    """Reports each phase of a run, then what is left of them."""
    digest, before = hashlib.sha256(pathlib.Path(model).read_bytes()).digest(), answer(binary, model)
    with tempfile.TemporaryFile() as document, tempfile.TemporaryDirectory() as temporary:
        document.write(BOOK.read_bytes()[:PROMPT_BYTES])
        document.flush()
        os.environ["TMPDIR"] = temporary
        for name, *phase in PHASES:
            report(name, try_phase(binary, model, document, *phase))
        del os.environ["TMPDIR"]
        after, left = answer(binary, model), os.listdir(temporary)
        problem = None
        if after != before:
            problem = f"the answer was {before!r} before and is {after!r} now"
        elif hashlib.sha256(pathlib.Path(model).read_bytes()).digest() != digest:
            problem = f"{model} has changed"
        elif left:
            problem = f"these files are left: {left}"
        report("run, and what it leaves", problem)


class SlowServer(http.server.ThreadingHTTPServer):
    """Serves one file as /model.gguf, slowly while `slow` is set. `asked` holds the first byte each request wanted."""
    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), SlowReply)
        self.data, self.slow, self.asked = data, True, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # the client went away: that is the test


class SlowReply(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data, wanted = self.server.data, self.headers.get("Range")
        first = int(wanted.split("=")[1].split("-")[0]) if wanted else 0
        self.server.asked.append(first)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"1"')
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        for at in range(first, len(data), 16384):
            self.wfile.write(data[at : at + 16384])
            if self.server.slow:
                time.sleep(0.05)

    def log_message(self, *_):
        pass


def try_pull(binary, model):
    """None if Ctrl-C in a pull does what it should, else what it did."""
    data = pathlib.Path(model).read_bytes()
    server = SlowServer(data)
    os.environ["no_proxy"] = "127.0.0.1"
    url = f"http://127.0.0.1:{server.server_port}/model.gguf"
    with tempfile.TemporaryDirectory() as folder:
        digest = hashlib.sha256(data).hexdigest()
        command = [binary, "pull", url, "--sha256", digest, "--cache-dir", folder, "--json"]
        for _ in range(2):
            output, status = interrupt(command, subprocess.DEVNULL, b"%", 0.4)
            if status != 130 or json.loads(output).get("error", {}).get("code") != "cancelled":
                return f"status {status}: {output[-300:]!r}"
            models = [path for path in pathlib.Path(folder).rglob("*") if path.suffix == ".gguf"]
            if models:
                return f"it left {models}"
        server.slow = False
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
        if done.returncode != 0:
            return f"the next pull ended with status {done.returncode}: {done.stderr.decode()[-300:]}"
        if pathlib.Path(json.loads(done.stdout)["path"]).read_bytes() != data:
            return "the next pull gave another file"
        if len(server.asked) != 3 or not 0 == server.asked[0] < server.asked[1] < server.asked[2]:
            return f"the pulls did not go on from each other: they asked from bytes {server.asked}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loci", required=True)
    parser.add_argument("model")
    options = parser.parse_args()
    failed = 0

    began = time.monotonic()

    def report(name, problem):
        nonlocal began, failed
        failed += problem is not None
        print(f"Ctrl-C in the {name}: {problem or 'ok'} ({time.monotonic() - began:.1f} s)", flush=True)
        began = time.monotonic()

    try_phases(options.loci, options.model, report)
    report("pull", try_pull(options.loci, options.model))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
