#!/usr/bin/env python3
"""Input that means harm: each row of the tables gets a 4xx in OpenAI's shape, and the server answers the next request.

    python3 tests/serve/hostile_test.py --loci build/cpu/loci MODEL
"""
import argparse
import json
import pathlib
import socket
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from served import Served  # noqa: E402

OPTIONS = None
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "a"}]

NUMBERS = ["temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"]
INTEGERS = ["max_tokens", "n", "top_k", "seed"]
FLAGS = ["stream", "ignore_eos"]
WRONG_NUMBERS = ["-1e308", "1e308", "-5", "1e400", "NaN", "Infinity", "-Infinity", '"1"', "true", "[]", "{}", "[[1]]"]
WRONG_INTEGERS = ["-1", "-9223372036854775809", "18446744073709551616", "1e30", "99999999999999999999999", "0.5", '"1"', "true", "[]", "{}"]

# Whole bodies, as bytes.
BODIES = {
    "empty": b"",
    "no JSON": b"hello",
    "an array": b"[]",
    "a string": b'"a"',
    "null": b"null",
    "cut off": b'{"prompt": "a"',
    "two documents": b'{"prompt": "a"} {"prompt": "b"}',
    "a comment": b'{"prompt": "a"} // b',
    "a trailing comma": b'{"prompt": "a",}',
    "single quotes": b"{'prompt': 'a'}",
    "a key twice": b'{"prompt": "a", "prompt": "b"}',
    "10,000 arrays deep": b'{"prompt": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10,000 objects deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "10,000 opened and left": b"[" * 10_000,
    "invalid UTF-8": b'{"prompt": "\xff\xfe"}',
    "an overlong slash": b'{"prompt": "\xc0\xaf"}',
    "a surrogate alone": b'{"prompt": "\\ud800"}',
    "UTF-8 of a surrogate": b'{"prompt": "\xed\xa0\x80"}',
    "a control character": b'{"prompt": "\x01"}',
    "a byte order mark of UTF-16": '{"prompt": "a"}'.encode("utf-16"),
    "no prompt": b"{}",
    "an unknown field": b'{"prompt": "a", "prompts": 1}',
    "a path as a field": b'{"prompt": "a", "../../etc/passwd": 1}',
    "a prompt of a number": b'{"prompt": 1}',
    "no token": b'{"prompt": [99999999]}',
    "a negative token": b'{"prompt": [-1]}',
    "half a token": b'{"prompt": [1.5]}',
    "an empty prompt": b'{"prompt": []}',
    "mixed prompts": b'{"prompt": ["a", 1]}',
    "too many prompts": json.dumps({"prompt": ["a"] * 65}).encode(),
    "many prompts and choices": json.dumps({"prompt": ["a"] * 64, "n": 16}).encode(),
    "a prompt beyond the context": json.dumps({"prompt": "word " * 5000}).encode(),
    "tokens beyond the context": json.dumps({"prompt": [5] * 1024}).encode(),
    "a prompt and an answer beyond the context": b'{"prompt": "a", "max_tokens": 2000}',
    "an empty stop": b'{"prompt": "a", "stop": ""}',
    "too many stops": json.dumps({"prompt": "a", "stop": ["x"] * 17}).encode(),
    "a huge stop": json.dumps({"prompt": "a", "stop": "x" * 5000}).encode(),
    "a stop of numbers": b'{"prompt": "a", "stop": [1]}',
    "a bias of no token": b'{"prompt": "a", "logit_bias": {"x": 1}}',
    "a bias of a huge token": b'{"prompt": "a", "logit_bias": {"99999999999999999999": 1}}',
    "a bias of a negative token": b'{"prompt": "a", "logit_bias": {"-1": 1}}',
    "a huge bias": b'{"prompt": "a", "logit_bias": {"1": 1e9}}',
    "a bias of a word": b'{"prompt": "a", "logit_bias": {"1": "x"}}',
    "too many biases": json.dumps({"prompt": "a", "logit_bias": {str(i): 0 for i in range(2000)}}).encode(),
    "a plan that is none": b'{"prompt": "a", "attention": "drop table"}',
    "a plan of a huge number": b'{"prompt": "a", "attention": "retain=snapkv(budget=99999999999999999999)"}',
    "a plan of a negative number": b'{"prompt": "a", "attention": "retain=snapkv(budget=-1)"}',
    "a plan of layers that are not there": b'{"prompt": "a", "attention": "store=kv4@5000-6000"}',
    "a plan of a profile elsewhere": b'{"prompt": "a", "attention": "retain=duo(profile=../../../../etc/passwd)"}',
    "a profile of a device": b'{"prompt": "a", "attention": "retain=duo(profile=/dev/stdin)"}',
    "a huge plan": json.dumps({"prompt": "a", "attention": "dense;" * 2000}).encode(),
    "a huge salt": json.dumps({"prompt": "a", "cache_salt": "s" * 600}).encode(),
    "options of no stream": b'{"prompt": "a", "stream_options": {"include_usage": true}}',
    "an unknown option of a stream": b'{"prompt": "a", "stream": true, "stream_options": {"x": 1}}',
    "memory without a stream": b'{"prompt": "a", "memory": {}}',
    "memory of another request": b'{"prompt": "a", "stream": true, "memory": {"request": "req-1"}}',
    "memory of a word": b'{"prompt": "a", "stream": true, "memory": "all"}',
    "a picture every 0 steps": b'{"prompt": "a", "stream": true, "memory": {"every": 0}}',
    "a picture every huge number of steps": b'{"prompt": "a", "stream": true, "memory": {"every": 99999999999999999999}}',
    "more stretches than may be": b'{"prompt": "a", "stream": true, "memory": {"stretches": 257}}',
    "a negative number of stretches": b'{"prompt": "a", "stream": true, "memory": {"stretches": -1}}',
    "logprobs beyond": b'{"prompt": "a", "logprobs": 21}',
    "best_of beyond n": b'{"prompt": "a", "best_of": 3}',
    "a suffix": b'{"prompt": "a", "suffix": "b"}',
}

# Whole conversations, and the field that the error names.
CHATS = {
    "no messages": ({}, "messages"),
    "an empty array": ({"messages": []}, "messages"),
    "an object": ({"messages": {}}, "messages"),
    "a string": ({"messages": "hello"}, "messages"),
    "a message of null": ({"messages": [None]}, "messages[0]"),
    "no role": ({"messages": [{"content": "a"}]}, "messages[0].role"),
    "an unknown role": ({"messages": [{"role": "root", "content": "a"}]}, "messages[0].role"),
    "a role of a number": ({"messages": [{"role": 1, "content": "a"}]}, "messages[0].role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "a content of a number": ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    "an image": ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
                 "messages[0].content[0].type"),
    "an unknown field of a message": ({"messages": [{"role": "user", "content": "a", "x": 1}]}, "messages[0].x"),
    "too many messages": ({"messages": MESSAGES * 5000}, "messages"),
    "more than the context": ({"messages": [{"role": "user", "content": "word " * 5000}]}, "messages"),
    "top_logprobs without logprobs": ({"messages": MESSAGES, "top_logprobs": 1}, "top_logprobs"),
    "top_logprobs beyond": ({"messages": MESSAGES, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    "a tool of another type": ({"messages": MESSAGES, "tools": [{"type": "shell"}]}, "tools[0].type"),
    "a tool without a name": ({"messages": MESSAGES, "tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    "a choice without tools": ({"messages": MESSAGES, "tool_choice": "required"}, "tool_choice"),
    "a format that is none": ({"messages": MESSAGES, "response_format": {"type": "xml"}}, "response_format.type"),
    "a format without a schema": ({"messages": MESSAGES, "response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    "a schema of itself": ({"messages": MESSAGES, "response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}},
                           "response_format"),
    "a schema of many properties": ({"messages": MESSAGES, "response_format": {"type": "json_schema", "json_schema": {"schema": {
        "properties": {f"p{i}": {} for i in range(20000)}, "required": [f"p{i}" for i in range(20000)]}}}}, "response_format"),
    "audio": ({"messages": MESSAGES, "modalities": ["audio"]}, "modalities"),
    "many fields": ({"messages": MESSAGES, **{f"f{i}": i for i in range(1000)}}, None),
}

# The other routes that read a body.
OTHERS = {
    "a response of nothing": ("/v1/responses", {}, "input"),
    "a response of a number": ("/v1/responses", {"input": 1}, "input"),
    "a response of an unknown item": ("/v1/responses", {"input": [{"type": "file"}]}, "input[0].type"),
    "a response that goes on from another": ("/v1/responses", {"input": "a", "previous_response_id": "resp_1"}, "previous_response_id"),
    "a response in the background": ("/v1/responses", {"input": "a", "background": True}, "background"),
    "a response of a negative length": ("/v1/responses", {"input": "a", "max_output_tokens": -1}, "max_output_tokens"),
    "a response by a search": ("/v1/responses", {"input": "a", "tools": [{"type": "web_search"}]}, "tools[0].type"),
    "an embedding of nothing": ("/v1/embeddings", {}, "input"),
    "an embedding of an empty text": ("/v1/embeddings", {"input": [[]]}, "input"),
    "an embedding of no token": ("/v1/embeddings", {"input": [99999999]}, "input"),
    "an embedding beyond the context": ("/v1/embeddings", {"input": "word " * 5000}, "input"),
    "an embedding of another length": ("/v1/embeddings", {"input": "a", "dimensions": 3}, "dimensions"),
    "an embedding in another form": ("/v1/embeddings", {"input": "a", "encoding_format": "hex"}, "encoding_format"),
    "an embedding that streams": ("/v1/embeddings", {"input": "a", "stream": True}, "stream"),
}

# Paths that lead nowhere; each is sent as it stands.
PATHS = ["/../../etc/passwd", "/v1/../../etc/passwd", "/v1/models/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/models/%2e%2e%2f",
         "//etc/passwd", "/v1//models", "/V1/models", "/v1/models\\..", "/v1/models%00", "/.git/config", "/v1/chat", "/v1/chat/completions/",
         "/v1/models/" + "a" * 5000, "/etc?" + "a" * 5000 + "&b=%ff", "/index.html", "/chat.html"]

# What is no HTTP that we read; the answer's status, or None where a close will do.
RAW = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "TLS on plain": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200 + b"\r\n\r\n", 400),
    "HTTP/9": (b"GET / HTTP/9.9\r\n\r\n", 400),
    "an empty name": (b"GET /health HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n", 400),
    "a name with a space": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nA b: x\r\n\r\n", 400),
    "a folded header": (b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
    "a null in a header": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: \x00\r\n\r\n", 400),
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400),
    "another host": (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
    "a negative length": (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n", 400),
    "a huge length": (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
    "a length beyond the limit": (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n", 413),
    "two lengths": (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "a chunk of no number": (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "a huge chunk": (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
    "chunks beyond the limit": (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                                + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 40, 413),
    "a large header": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    "many headers": (b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", 431),
    "a long target": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    "another type": (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415),
    "an unknown method": (b"BREW /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
    "a trace": (b"TRACE /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
}


def status_of(reply):
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else None


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        template = pathlib.Path(__file__).resolve().parents[1] / "data" / "chat" / "smollm2.jinja"
        cls.server = Served(OPTIONS.loci, OPTIONS.model, "--ctx", "1024", "--body-limit", "1M",
                            "--chat-template", str(template)).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        assert cls.server.process.returncode == 0, "".join(cls.server.log)[-2000:]

    def refused(self, path, body, what):
        status, _, data = self.server.ask("POST", path, body)
        self.assertIn(status, range(400, 500), f"{what}: {status} {data[:300]}")
        error = json.loads(data)["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"}, what)
        self.assertTrue(error["message"], what)
        self.assertLess(len(data), 2000, f"{what}: the answer repeats what was sent")
        return error

    def tearDown(self):
        self.assertEqual(self.server.json("GET", "/health"), {"status": "ok"})

    def test_bodies(self):
        for what, body in BODIES.items():
            with self.subTest(what):
                self.refused(TEXT, body, what)
                self.refused(TEXT + "/tokens", body, what)

    def test_chats(self):
        self.server.json("POST", CHAT, {"messages": MESSAGES, "max_tokens": 1})  # what is not wrong is answered
        for what, (body, param) in CHATS.items():
            with self.subTest(what):
                self.assertEqual(self.refused(CHAT, json.dumps(body).encode(), what)["param"], param)

    def test_other_routes(self):
        for what, (path, body, param) in OTHERS.items():
            with self.subTest(what):
                self.assertEqual(self.refused(path, json.dumps(body).encode(), what)["param"], param)

    def test_every_field(self):
        for path, rest in ((TEXT, '"prompt": "a"'), (CHAT, '"messages": [{"role": "user", "content": "a"}]')):
            for field, values in [(n, WRONG_NUMBERS) for n in NUMBERS] + [(n, WRONG_INTEGERS) for n in INTEGERS] + \
                                 [(n, ["1", '"true"', "[]"]) for n in FLAGS] + \
                                 [(n, ["1", "[]", "{}", "true"]) for n in ("model", "attention", "cache_salt", "task")] + \
                                 [(n, ["1", "[]", '"a"', "true"]) for n in ("logit_bias", "response_format")]:
                for value in values:
                    if field == "seed" and value == "-1":
                        continue  # OpenAI takes it
                    with self.subTest(field=field, value=value):
                        error = self.refused(path, f'{{{rest}, "{field}": {value}}}'.encode(), f"{field}={value}")
                        if error["code"] != "invalid_json":  # NaN, and numbers that no double holds
                            self.assertEqual((error["param"] or "").split(".")[0], field)

    def test_paths(self):
        for path in PATHS:
            for method in ("GET", "POST"):
                with self.subTest(path=path[:60], method=method):
                    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    reply = self.server.raw(head.encode())
                    self.assertIn(status_of(reply), range(400, 500), reply[:200])
                    self.assertNotIn(b"root:", reply)

    def test_what_is_no_http(self):
        for what, (data, status) in RAW.items():
            with self.subTest(what):
                reply = self.server.raw(data)
                self.assertEqual(status_of(reply), status, f"{what}: {reply[:200]}")

    def test_a_large_body_is_not_read(self):
        begin = time.monotonic()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500000000\r\n\r\n"
        self.assertEqual(status_of(self.server.raw(head + b" " * 2_000_000)), 413)
        self.assertLess(time.monotonic() - begin, 10)

    def test_half_requests_hold_nobody_up(self):
        halves = []
        for data in (b"", b"GET", b"GET /health HTTP/1.1\r\nHost: local", b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                     b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{") * 50:
            s = socket.create_connection(("127.0.0.1", self.server.port))
            s.sendall(data)
            halves.append(s)
        begin = time.monotonic()
        self.server.complete("a", max_tokens=1)
        self.assertLess(time.monotonic() - begin, 20)
        # A header that does not come ends its connection.
        halves[2].settimeout(20)
        self.assertEqual(status_of(halves[2].recv(1000)), 408)
        for s in halves:
            s.close()

    def test_a_reader_that_sleeps_holds_nobody_up(self):
        body = json.dumps({"prompt": "a", "max_tokens": 900, "ignore_eos": True, "stream": True, "logprobs": 20}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        sleepers = []
        for _ in range(3):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.connect(("127.0.0.1", self.server.port))
            s.sendall(head.encode() + body)
            sleepers.append(s)
        out = self.server.complete("a", max_tokens=20, ignore_eos=True)
        self.assertEqual(out["usage"]["completion_tokens"], 20)
        for s in sleepers:
            s.close()

    def test_who_asks_and_never_reads_is_not_answered_for_ever(self):
        # 40,000 requests, each of whose answers has some 30 KB.
        one = b"GET /v1/attention_plans HTTP/1.1\r\nHost: localhost\r\n\r\n"
        before = self.server.resident_bytes()
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        s.connect(("127.0.0.1", self.server.port))
        s.settimeout(3)
        try:
            s.sendall(one * 40_000)
        except socket.timeout:
            pass  # it takes no more
        time.sleep(1)
        self.assertLess(self.server.resident_bytes() - before, (256 if OPTIONS.sanitized else 32) << 20)
        s.close()

    def test_bodies_that_were_read_leave_room(self):
        # 256 MiB of bodies may be there at once. These are more, of requests that have been read: one runs for long, the others wait.
        body = json.dumps({"prompt": "a", "max_tokens": 30000, "ignore_eos": True, "stream": True, "user": "a" * (8 << 20)}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with Served(OPTIONS.loci, OPTIONS.model, "--ctx", "32768", "--batch", "1", "--drain-seconds", "0") as server:
            clients = []
            for _ in range(34):
                s = socket.create_connection(("127.0.0.1", server.port), timeout=30)
                s.sendall(head.encode() + body)
                clients.append(s)
            end = time.monotonic() + (600 if OPTIONS.sanitized else 60)
            while server.metric("loci_requests_waiting") < 29:
                self.assertLess(time.monotonic(), end, "they do not all wait")
                time.sleep(0.05)
            self.assertEqual(server.ask("POST", TEXT, b"{}")[0], 400)
            for s in clients:
                s.close()

    def test_arguments_of_calls_that_nest_deeply(self):
        deep = "[" * 200_000 + "]" * 200_000
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": deep}}
        messages = MESSAGES + [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "a"}]
        self.assertEqual(self.refused(CHAT, json.dumps({"messages": messages}).encode(), "deep arguments")["code"], "context_length_exceeded")

    def test_pipelined_requests_are_answered_in_order(self):
        one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        last = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as s:
            s.sendall(one * 20 + last)
            out = b""
            while chunk := s.recv(65536):
                out += chunk
        self.assertEqual(out.count(b"HTTP/1.1 200 OK"), 21)
        self.assertTrue(out.endswith(b'{"status":"ready"}'))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loci", required=True)
    parser.add_argument("--sanitized", action="store_true", help="memory is not that of the product")
    parser.add_argument("model")
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
