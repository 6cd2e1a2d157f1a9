#!/usr/bin/env python3
"""`loci bench serve` against a server that answers one request at a time, a tenth of a second each: its times are known.

    python3 tests/serve/load_test.py --loci build/cpu/loci
"""
import argparse
import http.server
import json
import subprocess
import sys
import threading
import time
import unittest

OPTIONS = None
SECONDS = 0.1


class Slow(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(SECONDS)
        usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
        events = [{"choices": [{"text": "a"}]}, usage]
        data = "".join(f"data: {json.dumps(e)}\n\n" for e in events) + "data: [DONE]\n\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data.encode())

    def log_message(self, *_):
        pass


class Load(unittest.TestCase):
    def bench(self, *options):
        server = http.server.HTTPServer(("127.0.0.1", 0), Slow)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [OPTIONS.loci, "bench", "serve", "--url", f"http://127.0.0.1:{server.server_port}", "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        server.shutdown()
        server.server_close()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def test_waiting_for_a_free_stream_is_the_servers_time(self):
        out = self.bench("--requests", "10", "--rate", "1000", "--concurrency", "1")
        # All are due at once; the last one waits for nine others.
        self.assertGreater(out["first_token_seconds"]["p99"], 8 * SECONDS)
        self.assertGreater(out["first_token_seconds"]["p50"], 3 * SECONDS)

    def test_who_starts_when_another_ends_has_waited_for_nobody(self):
        out = self.bench("--requests", "5", "--concurrency", "1")
        self.assertLess(out["first_token_seconds"]["p50"], 2 * SECONDS)
        self.assertEqual(out["completion_tokens"], 5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loci", required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
