#!/usr/bin/env python3
"""What OpenAI's clients ask for, against a real server on the model that ships. Standard library; clients_test.py asks with
OpenAI's own package.

    python3 tests/serve/protocol_test.py --loci build/cpu/loci MODEL
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from served import Served  # noqa: E402

OPTIONS = None
TEXT = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
NEEDLE = "One of the special magic numbers for silver-fox is: 4815162. "
QUESTION = "What is the special magic number for silver-fox? The special magic number for silver-fox is"
PROMPT = TEXT * 6 + NEEDLE + TEXT * 6 + QUESTION


def registered_plans(server):
    """One plan for every method and preset of the registry, in every stage that it answers."""
    registry = server.json("GET", "/v1/attention_plans")
    return [("; ".join(f"{stage}={method['name']}" for stage in method["stages"]), method["profile"]) for method in registry["methods"]]


class Protocol(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Served(OPTIONS.loci, OPTIONS.model, "--ctx", "2048", "--batch", "16").__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        assert cls.server.process.returncode == 0, "".join(cls.server.log)[-2000:]

    def test_models(self):
        models = self.server.json("GET", "/v1/models")
        self.assertEqual([m["id"] for m in models["data"]], ["needle"])
        self.assertEqual(self.server.json("GET", "/v1/models/needle")["context_length"], 2048)
        self.assertEqual(self.server.json("GET", "/v1/models/gpt-4", expect=404)["error"]["code"], "model_not_found")
        self.complete_fails(404, "model_not_found", model="gpt-4")

    def complete_fails(self, status, code, prompt="a", **fields):
        error = self.server.complete(prompt, expect=status, **fields)["error"]
        self.assertEqual(error["code"], code, error)
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        return error

    def test_an_answer_has_openai_s_shape(self):
        out = self.server.complete(PROMPT, max_tokens=12)
        self.assertEqual(out["object"], "text_completion")
        self.assertTrue(out["id"].startswith("cmpl-"))
        [choice] = out["choices"]
        self.assertEqual(choice["index"], 0)
        self.assertIn("4815162", choice["text"])
        usage = out["usage"]
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])
        self.assertGreater(usage["kept_tokens"], 0)
        self.assertGreater(usage["kv_bytes"], 0)

    def test_a_stream_says_the_same(self):
        whole = self.server.complete(PROMPT, max_tokens=12)
        events = self.server.stream("/v1/completions", {"prompt": PROMPT, "temperature": 0, "max_tokens": 12,
                                                        "stream_options": {"include_usage": True}})
        self.assertEqual("".join(c["text"] for e in events for c in e["choices"]), whole["choices"][0]["text"])
        self.assertEqual(events[-2]["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"])
        self.assertEqual(events[-1]["choices"], [])
        self.assertEqual(events[-1]["usage"]["completion_tokens"], whole["usage"]["completion_tokens"])

    def test_prompts_and_choices(self):
        out = self.server.complete([TEXT, PROMPT], max_tokens=4, n=2, temperature=1.0, seed=7)
        self.assertEqual([c["index"] for c in out["choices"]], [0, 1, 2, 3])
        again = self.server.complete([TEXT, PROMPT], max_tokens=4, n=2, temperature=1.0, seed=7)
        self.assertEqual([c["text"] for c in out["choices"]], [c["text"] for c in again["choices"]])
        tokens = self.server.complete([5, 6, 7, 8], max_tokens=1)
        self.assertGreaterEqual(tokens["usage"]["prompt_tokens"], 4)

    def test_stop_and_echo(self):
        text = self.server.complete(PROMPT, max_tokens=16, ignore_eos=True)["choices"][0]["text"]
        cut = text[3:5]
        out = self.server.complete(PROMPT, max_tokens=16, ignore_eos=True, stop=[cut])["choices"][0]
        self.assertEqual(out["text"], text[:text.index(cut)])
        self.assertEqual(out["finish_reason"], "stop")
        for prompt in (TEXT, [5, 6, 7, 8, 300, 301]):
            echoed = self.server.complete(prompt, max_tokens=2, echo=True)["choices"][0]["text"]
            plain = self.server.complete(prompt, max_tokens=2)["choices"][0]["text"]
            self.assertTrue(echoed.endswith(plain) and len(echoed) > len(plain))
            events = self.server.stream("/v1/completions", {"prompt": prompt, "max_tokens": 2, "echo": True, "temperature": 0})
            self.assertEqual("".join(c["text"] for e in events for c in e["choices"]), echoed)

    def test_logprobs(self):
        out = self.server.complete(PROMPT, max_tokens=5, logprobs=3)["choices"][0]
        logprobs = out["logprobs"]
        self.assertEqual("".join(logprobs["tokens"]), out["text"])
        for token, logprob, top in zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"]):
            self.assertLessEqual(logprob, 0)
            self.assertEqual(max(top, key=top.get), token, "greedy takes the likeliest")
            self.assertEqual(len(top), 3)
        events = self.server.stream("/v1/completions", {"prompt": PROMPT, "temperature": 0, "max_tokens": 5, "logprobs": 3})
        streamed = [t for e in events for c in e["choices"] if c["logprobs"] for t in c["logprobs"]["tokens"]]
        self.assertEqual(streamed, logprobs["tokens"])

    def test_bias_and_penalties(self):
        def tokens(**fields):
            return self.server.complete(PROMPT, max_tokens=60, ignore_eos=True, logprobs=0, **fields)["choices"][0]["logprobs"]["tokens"]

        free = tokens()
        [wanted] = set(tokens(logit_bias={"300": 100}))
        self.assertNotIn(wanted, free)
        # Two that are equally wished for: what was said is wished for less.
        both = {"300": 100, "301": 100}
        self.assertEqual(len(set(tokens(logit_bias=both))), 1)
        for penalty in ({"frequency_penalty": 2}, {"frequency_penalty": 1.5, "presence_penalty": 1}):
            self.assertEqual(len(set(tokens(logit_bias=both, **penalty))), 2, penalty)
        self.assertEqual(len(set(tokens(logit_bias=both, frequency_penalty=-2))), 1)
        for penalty in ("frequency_penalty", "presence_penalty"):
            self.assertGreater(len(set(tokens(**{penalty: 2}))), len(set(free)), penalty)

    def test_cached_tokens(self):
        prompt = "Chapter seventeen. " + TEXT * 8
        body = {"max_tokens": 1, "cache_salt": "one"}
        self.assertEqual(self.server.complete(prompt, **body)["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
        again = self.server.complete(prompt, **body)["usage"]
        self.assertGreater(again["prompt_tokens_details"]["cached_tokens"], again["prompt_tokens"] // 2)
        other = self.server.complete(prompt, **{**body, "cache_salt": "two"})["usage"]
        self.assertEqual(other["prompt_tokens_details"]["cached_tokens"], 0)

    def test_embeddings(self):
        import base64
        import struct
        out = self.server.json("POST", "/v1/embeddings", {"model": "needle", "input": [TEXT, PROMPT, TEXT]})
        self.assertEqual([d["index"] for d in out["data"]], [0, 1, 2])
        first, second, third = (d["embedding"] for d in out["data"])
        self.assertEqual(first, third)
        self.assertNotEqual(first, second)
        self.assertEqual(out["usage"]["prompt_tokens"], out["usage"]["total_tokens"])
        # Alone, as tokens, and in base64: the same numbers.
        alone = self.server.json("POST", "/v1/embeddings", {"input": TEXT, "encoding_format": "base64"})["data"][0]["embedding"]
        numbers = struct.unpack(f"<{len(first)}f", base64.b64decode(alone))
        self.assertEqual([struct.unpack("f", struct.pack("f", x))[0] for x in first], list(numbers))
        one = self.server.json("POST", "/v1/embeddings", {"input": [300]})["data"][0]["embedding"]
        two = self.server.json("POST", "/v1/embeddings", {"input": [300, 301], "dimensions": len(one)})["data"][0]["embedding"]
        self.assertNotEqual(one, two)
        # Causal: the first token's states are the same, so twice the mean less them are the second's.
        self.assertGreater(max(abs(2 * b - a) for a, b in zip(one, two)), 0)

    def test_every_registered_plan_serves_a_request(self):
        plans = registered_plans(self.server)
        self.assertGreater(len(plans), 10)
        without_profile = 0
        for plan, profile in plans:
            with self.subTest(plan=plan):
                body = {"prompt": PROMPT, "max_tokens": 4, "attention": plan, "temperature": 0}
                status, _, data = self.server.ask("POST", "/v1/completions", body)
                if status == 400 and profile and b"no profile" in data:
                    without_profile += 1  # not every calibration ships for this model
                    continue
                self.assertEqual(status, 200, data)
                self.assertGreater(json.loads(data)["usage"]["completion_tokens"], 0)
        self.assertLessEqual(without_profile, 2)

    def test_32_at_once_under_8_plans_are_as_alone(self):
        plans = ["dense", "store=kv8", "store=kv4", "retain=snapkv(budget=48,window=8)",
                 "retain=streaming(sinks=4,window=60)", "retain=snapkv(budget=64,window=8); store=kv8",
                 "select=flexprefill", "select=decode:tokenselect(k=64)"]
        jobs = [(f"Story {i}. " + TEXT * (2 + i % 5) + NEEDLE + QUESTION, plans[i % 8]) for i in range(32)]

        def run(job):
            return self.server.complete(job[0], max_tokens=12, attention=job[1], cache_salt=str(time.monotonic_ns()))["choices"][0]["text"]

        alone = [run(job) for job in jobs]
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            together = list(pool.map(run, jobs))
        for job, a, b in zip(jobs, alone, together):
            self.assertEqual(a, b, job[1])

    def test_pictures_of_memory(self):
        body = {"prompt": PROMPT, "temperature": 0, "max_tokens": 12, "stream_options": {"include_usage": True}, "cache_salt": "pictures"}
        plain = self.server.stream("/v1/completions", body)
        self.assertFalse(any("memory" in event for event in plain), "nobody who does not ask is told")
        for plan in ("dense", "retain=snapkv(budget=48,window=8)"):
            events = self.server.stream("/v1/completions", {**body, "attention": plan, "memory": {"every": 4, "stretches": 8}})
            pictures = [event["memory"] for event in events if "memory" in event]
            self.assertTrue(all(event["choices"] == [] and event["object"] == "text_completion" for event in events if "memory" in event))
            self.assertEqual([p["last"] for p in pictures], [False] * (len(pictures) - 1) + [True])
            last, usage = pictures[-1], events[-1]["usage"]
            for mine, theirs in (("prompt_tokens",) * 2, ("kv_bytes",) * 2, ("completion_tokens",) * 2):
                self.assertEqual(last[mine], usage[theirs])
            heads = sorted((h["layer"], k) for h in last["heads"] for k in h["kv_heads"])
            self.assertEqual(heads, [(layer, head) for layer in range(6) for head in range(4)])
            kept = sum(h["kept"] * len(h["kv_heads"]) for h in last["heads"])
            self.assertEqual(kept // 24, usage["kept_tokens"])
            self.assertTrue(all(len(h["where"]) == 8 for h in last["heads"]))
            if plan == "dense":  # but for the events that were asked for, the stream is the same
                self.assertEqual([(c["text"], c["finish_reason"]) for e in events for c in e["choices"]],
                                 [(c["text"], c["finish_reason"]) for e in plain for c in e["choices"]])
        self.complete_fails(400, "invalid_value", memory={})

    def test_tokens_are_counted_without_an_answer(self):
        before = self.server.metric("loci_completion_tokens_total")
        counted = self.server.json("POST", "/v1/completions/tokens", {"prompt": PROMPT})
        self.assertEqual(counted["context_length"], 2048)
        self.assertEqual(self.server.metric("loci_completion_tokens_total"), before)
        self.assertEqual(counted["prompt_tokens"], self.server.complete(PROMPT, max_tokens=1)["usage"]["prompt_tokens"])
        error = self.server.json("POST", "/v1/completions/tokens", {"prompt": TEXT * 200}, expect=400)["error"]
        self.assertEqual(error["code"], "context_length_exceeded")
        error = self.server.json("POST", "/v1/completions/tokens", {"prompt": "a", "attention": "store=kv5"}, expect=400)["error"]
        self.assertEqual(error["param"], "attention")
        self.server.json("POST", "/v1/chat/completions/tokens", {"messages": [{"role": "user", "content": "a"}]}, expect=400)

    def test_the_page(self):
        status, headers, page = self.server.ask("GET", "/")
        self.assertEqual(status, 200)
        self.assertTrue(page.startswith(b"<!doctype html>"))
        self.assertEqual(headers["Content-Type"], "text/html; charset=utf-8")
        self.assertIn("default-src 'none'; script-src 'sha256-", headers["Content-Security-Policy"])
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(self.server.ask("POST", "/", {})[0], 405)

    def test_a_client_that_goes_away_frees_its_place(self):
        body = json.dumps({"prompt": TEXT, "max_tokens": 1500, "ignore_eos": True, "stream": True})
        clients = []
        for _ in range(4):
            connection = self.server.connect()
            connection.request("POST", "/v1/completions", body, self.server.headers())
            reply = connection.getresponse()
            reply.readline()
            clients.append((connection, reply))
        self.assertGreaterEqual(self.server.metric("loci_sequences_running"), 1)
        for connection, reply in clients:
            reply.close()
            connection.close()
        end = time.monotonic() + 20
        while self.server.metric("loci_sequences_running") > 0:
            self.assertLess(time.monotonic(), end, "their sequences still run")
            time.sleep(0.1)

    def test_what_looks(self):
        self.assertEqual(self.server.json("GET", "/health"), {"status": "ok"})
        self.assertEqual(self.server.json("GET", "/ready"), {"status": "ready"})
        description = self.server.json("GET", "/openapi.json")
        for path in description["paths"]:
            status, _, _ = self.server.ask("GET", path.replace("{model}", "needle"))
            self.assertNotIn(status, (404, 500), path)
            # Every code that is answered is described.
            for operation in description["paths"][path].values():
                self.assertIn("200", operation["responses"], path)
        self.server.complete("a", max_tokens=1)
        self.assertEqual(self.server.metric("loci_fallbacks_total"), 0)
        self.assertGreater(self.server.metric("loci_http_connections_accepted_total"), 0)
        self.assertGreater(self.server.metric("loci_completion_tokens_total"), 0)
        lines = [json.loads(line) for line in self.server.log if line.startswith("{")]
        answered = [line for line in lines if line.get("answer")]
        self.assertTrue(answered)
        self.assertIn("attention", answered[-1])

    def test_one_connection_serves_many_requests(self):
        connection = self.server.connect()
        for _ in range(3):
            connection.request("GET", "/health")
            self.assertEqual(connection.getresponse().read(), b'{"status":"ok"}')
        connection.request("HEAD", "/health")
        self.assertEqual(connection.getresponse().read(), b"")
        connection.request("GET", "/v1/models")
        self.assertEqual(connection.getresponse().status, 200)



class Chat(unittest.TestCase):
    """Conversations, with a template of another model: the one that ships has none."""
    PATH = "/v1/chat/completions"
    MESSAGES = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Hello. " + NEEDLE + QUESTION}]
    TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Weather of a city", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer"}}, "required": ["city", "days"]}}},
        {"type": "function", "function": {"name": "now"}}]
    SCHEMA = {"type": "object", "properties": {
        "zebra": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}, "colour": {"enum": ["red", "green"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}},
        "required": ["zebra", "age", "colour", "tags"], "additionalProperties": False}

    @classmethod
    def setUpClass(cls):
        template = pathlib.Path(__file__).resolve().parents[1] / "data" / "chat" / "smollm2.jinja"
        cls.server = Served(OPTIONS.loci, OPTIONS.model, "--ctx", "2048", "--chat-template", str(template)).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def chat(self, expect=200, **fields):
        return self.server.json("POST", self.PATH, {"messages": self.MESSAGES, "max_tokens": 16, "temperature": 0, **fields}, expect)

    def test_an_answer_has_openai_s_shape(self):
        out = self.chat()
        self.assertEqual(out["object"], "chat.completion")
        [choice] = out["choices"]
        self.assertEqual(choice["message"]["role"], "assistant")
        self.assertIsInstance(choice["message"]["content"], str)
        self.assertIn(choice["finish_reason"], ("stop", "length"))

    def test_a_stream_says_the_same(self):
        whole = self.chat(n=2, temperature=0.7, seed=3)
        events = self.server.stream(self.PATH, {"messages": self.MESSAGES, "max_tokens": 16, "n": 2, "temperature": 0.7, "seed": 3,
                                                "stream_options": {"include_usage": True}})
        texts, finishes = ["", ""], [None, None]
        for choice in (c for e in events for c in e["choices"]):
            texts[choice["index"]] += choice["delta"].get("content") or ""
            finishes[choice["index"]] = choice["finish_reason"] or finishes[choice["index"]]
        self.assertEqual(texts, [c["message"]["content"] for c in whole["choices"]])
        self.assertEqual(finishes, [c["finish_reason"] for c in whole["choices"]])
        self.assertEqual(events[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertEqual(events[-1]["usage"]["total_tokens"], whole["usage"]["total_tokens"])

    def test_logprobs(self):
        content = self.chat(logprobs=True, top_logprobs=2, max_tokens=4)["choices"][0]["logprobs"]["content"]
        self.assertTrue(content)
        for entry in content:
            self.assertEqual(bytes(entry["bytes"]).decode(errors="replace"), entry["token"])
            self.assertEqual(len(entry["top_logprobs"]), 2)
            self.assertEqual(entry["top_logprobs"][0]["token"], entry["token"])

    def test_an_answer_of_a_schema(self):
        form = {"type": "json_schema", "json_schema": {"name": "animal", "strict": True, "schema": self.SCHEMA}}
        for temperature in (0, 1.5):
            out = self.chat(response_format=form, max_tokens=200, temperature=temperature, seed=5)["choices"][0]
            self.assertEqual(out["finish_reason"], "stop", out)
            value = json.loads(out["message"]["content"])
            self.assertEqual(list(value), list(self.SCHEMA["properties"]), "properties come in the schema's order")
            self.assertIn(value["colour"], ("red", "green"))
            self.assertIsInstance(value["age"], int)
            self.assertTrue(1 <= len(value["tags"]) <= 3 and all(isinstance(t, bool) for t in value["tags"]))
        pieces = self.server.stream(self.PATH, {"messages": self.MESSAGES, "response_format": form, "max_tokens": 200})
        json.loads("".join(c["delta"].get("content") or "" for e in pieces for c in e["choices"]))

    def test_an_answer_that_is_an_object(self):
        for seed in range(4):
            out = self.chat(response_format={"type": "json_object"}, max_tokens=400, temperature=1.2, seed=seed)["choices"][0]
            self.assertTrue(out["message"]["content"].startswith("{"))
            if out["finish_reason"] == "stop":
                self.assertIsInstance(json.loads(out["message"]["content"]), dict)

    def test_responses(self):
        def text_of(response):
            return "".join(c["text"] for item in response["output"] if item["type"] == "message" for c in item["content"])

        body = {"instructions": "You are brief.", "input": self.MESSAGES[1]["content"], "max_output_tokens": 16, "temperature": 0}
        whole = self.server.json("POST", "/v1/responses", body)
        self.assertEqual(whole["object"], "response")
        self.assertEqual(text_of(whole), self.chat()["choices"][0]["message"]["content"])
        self.assertIn(whole["status"], ("completed", "incomplete"))
        self.assertEqual(whole["usage"]["total_tokens"], whole["usage"]["input_tokens"] + whole["usage"]["output_tokens"])
        events = self.server.stream("/v1/responses", body, done=False)
        self.assertEqual([e["sequence_number"] for e in events], list(range(len(events))))
        self.assertEqual("".join(e["delta"] for e in events if e["type"] == "response.output_text.delta"), text_of(whole))
        self.assertEqual(text_of(events[-1]["response"]), text_of(whole))
        form = {"format": {"type": "json_schema", "name": "animal", "schema": self.SCHEMA}}
        out = self.server.json("POST", "/v1/responses", {**body, "text": form, "max_output_tokens": 200})
        self.assertEqual(list(json.loads(text_of(out))), list(self.SCHEMA["properties"]))
        tools = [{"type": "function", **tool["function"]} for tool in self.TOOLS]
        out = self.server.json("POST", "/v1/responses", {**body, "tools": tools, "tool_choice": {"type": "function", "name": "weather"},
                                                         "max_output_tokens": 200})
        [call] = [item for item in out["output"] if item["type"] == "function_call"]
        self.assertEqual(set(json.loads(call["arguments"])), {"city", "days"})
        back = [{"role": "user", "content": "Weather?"}, call, {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}]
        self.server.json("POST", "/v1/responses", {**body, "input": back, "tools": tools})

    def test_a_schema_that_cannot_be_followed(self):
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "string", "pattern": "a+"}}}
        error = self.chat(expect=400, response_format=form)["error"]
        self.assertIn("'pattern'", error["message"])
        self.assertEqual(error["param"], "response_format")

    def test_tools(self):
        for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
            out = self.chat(tools=self.TOOLS[:1], tool_choice=choice, max_tokens=200, temperature=1, seed=2)["choices"][0]
            self.assertEqual(out["finish_reason"], "tool_calls", out)
            [call] = out["message"]["tool_calls"]
            arguments = json.loads(call["function"]["arguments"])
            if call["function"]["name"] == "weather":
                self.assertIsInstance(arguments["city"], str)
                self.assertIsInstance(arguments["days"], int)
        events = self.server.stream(self.PATH, {"messages": self.MESSAGES, "tools": self.TOOLS, "tool_choice": choice, "max_tokens": 200, "seed": 2})
        calls = [t for e in events for c in e["choices"] for t in c["delta"].get("tool_calls", [])]
        self.assertEqual([c["function"]["name"] for c in calls], ["weather"])
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "tool_calls")
        # The call and its result go back to the model.
        back = self.MESSAGES + [{"role": "assistant", "content": None, "tool_calls": out["message"]["tool_calls"]},
                                {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
        self.chat(messages=back, tools=self.TOOLS)
        self.chat(expect=400, tools=self.TOOLS, tool_choice={"type": "function", "function": {"name": "rm"}})
        self.chat(expect=400, tool_choice="required")



class Operation(unittest.TestCase):
    def serve(self, *options, context=1024, **more):
        return Served(OPTIONS.loci, OPTIONS.model, "--ctx", str(context), *options, **more)

    def test_another_address_needs_keys(self):
        for host in ("0.0.0.0", "::"):
            done = subprocess.run([OPTIONS.loci, "serve", "-m", OPTIONS.model, "--host", host, "--port", "0"],
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--api-keys", done.stderr)
        with self.serve("--host", "0.0.0.0", "--insecure") as server:
            server.complete("a", max_tokens=1)

    def test_keys_and_their_limits(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "keys.txt")
            path.write_text("# who may ask\nsecret-key-of-alice-1 alice\nsecret-key-of-bob-22 bob requests_per_minute=2\n")
            path.chmod(0o600)
            with self.serve("--api-keys", str(path), key="secret-key-of-alice-1") as server:
                server.complete("a", max_tokens=1)
                server.json("GET", "/health", headers={"Authorization": None})
                for header in (None, "Bearer secret-key-of-alice-2", "Bearer ", "Basic secret-key-of-alice-1"):
                    for path_asked in ("/v1/models", "/metrics"):
                        status, headers, _ = server.ask("GET", path_asked, headers={"Authorization": header})
                        self.assertEqual(status, 401, header)
                        self.assertEqual(headers["WWW-Authenticate"], "Bearer")
                bob = {"Authorization": "Bearer secret-key-of-bob-22"}
                statuses = [server.ask("POST", "/v1/completions", {"prompt": "a", "max_tokens": 1}, headers=bob) for _ in range(3)]
                self.assertEqual([s[0] for s in statuses], [200, 200, 429])
                self.assertGreaterEqual(int(statuses[2][1]["Retry-After"]), 1)
            path.chmod(0o644)
            done = subprocess.run([OPTIONS.loci, "serve", "-m", OPTIONS.model, "--api-keys", str(path), "--port", "0"],
                                  capture_output=True, text=True, timeout=60)
            self.assertIn("chmod 600", done.stderr)

    def test_memory_is_told_to_its_owner_alone(self):
        """Three streams at once, of two keys: each that asked is told of its own request, the one that did not of none."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "keys.txt")
            path.write_text("secret-key-of-alice-1 alice\nsecret-key-of-bob-22 bob\n")
            path.chmod(0o600)
            with self.serve("--api-keys", str(path), key="secret-key-of-alice-1") as server:
                jobs = [("alice-1", TEXT * 3, {"memory": {"every": 1}}), ("bob-22", TEXT * 7, {"memory": {"every": 1}}), ("bob-22", TEXT * 5, {})]
                ask = lambda key, prompt, memory: server.stream("/v1/completions", {  # noqa: E731
                    "prompt": prompt, "max_tokens": 60, "ignore_eos": True, "stream_options": {"include_usage": True}, **memory},
                    {"Authorization": f"Bearer secret-key-of-{key}"})
                with concurrent.futures.ThreadPoolExecutor(3) as pool:
                    streams = list(pool.map(lambda job: ask(*job), jobs))
                for (_, _, memory), events in zip(jobs, streams):
                    pictures = [event["memory"] for event in events if "memory" in event]
                    self.assertGreaterEqual(len(pictures), 60 if memory else 0)
                    self.assertEqual({p["prompt_tokens"] for p in pictures}, {events[-1]["usage"]["prompt_tokens"]} if memory else set())
                for path_asked in ("/v1/completions/tokens", "/v1/chat/completions/tokens"):
                    self.assertEqual(server.ask("POST", path_asked, {"prompt": "a"}, headers={"Authorization": None})[0], 401)
                self.assertEqual(server.ask("GET", "/", headers={"Authorization": None})[0], 200, "the page itself holds nothing")

    def test_a_full_queue_answers_429(self):
        with self.serve("--batch", "1", "--queue", "2") as server:
            body = {"prompt": TEXT, "max_tokens": 400, "ignore_eos": True}
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda _: server.ask("POST", "/v1/completions", body), range(8)))
            statuses = sorted(a[0] for a in answers)
            self.assertEqual(set(statuses), {200, 429}, statuses)
            for status, headers, data in answers:
                if status == 429:
                    self.assertGreaterEqual(int(headers["Retry-After"]), 1)
                    self.assertEqual(json.loads(data)["error"]["code"], "queue_full")

    def test_an_answer_that_takes_too_long_ends(self):
        # One of them runs, the other waits for its place.
        with self.serve("--request-seconds", "0.3", "--batch", "1", context=32768) as server:
            body = {"prompt": TEXT, "max_tokens": 32000, "ignore_eos": True}
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(lambda _: server.ask("POST", "/v1/completions", body), range(2)))
            for status, _, data in answers:
                self.assertEqual(status, 504, data)
                self.assertEqual(json.loads(data)["error"]["code"], "timeout")
            server.complete("a", max_tokens=1)
            # What was done until then is counted.
            self.assertGreater(server.metric("loci_completion_tokens_total"), 1)

    def test_more_prompts_than_may_wait_are_refused(self):
        with self.serve("--queue", "2") as server:
            error = server.complete(["a"] * 3, expect=400, max_tokens=1)["error"]
            self.assertIn("may wait", error["message"])
            server.complete(["a"] * 2, max_tokens=1)

    def test_cancelled_work_is_paid_for(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "keys.txt")
            path.write_text("secret-key-of-alice-1 alice tokens_per_minute=20\n")
            path.chmod(0o600)
            with self.serve("--api-keys", str(path), "--request-seconds", "0.5", context=32768, key="secret-key-of-alice-1") as server:
                body = {"prompt": TEXT, "max_tokens": 32000, "ignore_eos": True}
                self.assertEqual(server.ask("POST", "/v1/completions", body)[0], 504)
                self.assertEqual(server.ask("POST", "/v1/completions", {"prompt": "a", "max_tokens": 1})[0], 429)

    def test_one_choice_that_fails_ends_the_others(self):
        # The second prompt cannot fit the cache; the first would run for long.
        with self.serve("--kv-memory", "2M", "--batch", "2") as server:
            begin = time.monotonic()
            body = {"prompt": ["a", TEXT * 20], "max_tokens": 300, "ignore_eos": True}
            status, _, data = server.ask("POST", "/v1/completions", body)
            self.assertEqual(status, 400, data[:300])
            while server.metric("loci_sequences_running") > 0:
                self.assertLess(time.monotonic() - begin, 30)
                time.sleep(0.05)
            self.assertLess(server.metric("loci_decode_steps_total"), 200)

    def test_a_signal_lets_answers_end(self):
        with self.serve() as server:
            out = {}
            body = {"prompt": TEXT, "max_tokens": 300, "ignore_eos": True, "temperature": 0}
            asking = threading.Thread(target=lambda: out.update(reply=server.ask("POST", "/v1/completions", body)))
            asking.start()
            while server.metric("loci_sequences_running") == 0:
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            asking.join(60)
            self.assertEqual(out["reply"][0], 200)
            self.assertEqual(json.loads(out["reply"][2])["usage"]["completion_tokens"], 300)
            self.assertEqual(server.process.wait(30), 0)

    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                           check=True, capture_output=True)
            with self.serve("--tls-cert", cert, "--tls-key", key, tls=cert) as server:
                server.complete("a", max_tokens=2)
                self.assertTrue(server.stream("/v1/completions", {"prompt": TEXT, "max_tokens": 5}))
                with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
                    plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                    self.assertNotIn(b"200 OK", plain.recv(1000))

    def test_browsers_of_other_origins(self):
        with self.serve("--cors-origin", "https://good.example") as server:
            _, headers, _ = server.ask("GET", "/v1/models", headers={"Origin": "https://good.example"})
            self.assertEqual(headers["Access-Control-Allow-Origin"], "https://good.example")
            _, headers, _ = server.ask("GET", "/v1/models", headers={"Origin": "https://evil.example"})
            self.assertNotIn("Access-Control-Allow-Origin", headers)
            status, headers, _ = server.ask("OPTIONS", "/v1/completions", headers={"Origin": "https://good.example"})
            self.assertEqual(status, 204)
            self.assertIn("POST", headers["Access-Control-Allow-Methods"])
            status, _, _ = server.ask("POST", "/v1/completions", b"{}", headers={"Content-Type": "text/plain"})
            self.assertEqual(status, 415)
            status, _, _ = server.ask("GET", "/v1/models", headers={"Host": "evil.example"})
            self.assertEqual(status, 403)

    def test_a_record_plays_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "record.jsonl")
            with self.serve("--record", path, "--batch", "4", "--kv-memory", "3M") as server:
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
                # A plan that parses and is none of this model; states that are read anew.
                server.complete("a", expect=400, attention="store=kv4@5000-6000")
                server.json("POST", "/v1/embeddings", {"input": TEXT})
                bodies = [{"prompt": f"{i} " + TEXT * (1 + i % 4), "max_tokens": 40, "ignore_eos": True, "temperature": i % 2, "n": 1 + i % 2,
                           "attention": ["dense", "store=kv8", "retain=snapkv(budget=48,window=8)"][i % 3]} for i in range(12)]
                with concurrent.futures.ThreadPoolExecutor(12) as pool:
                    statuses = list(pool.map(lambda b: server.ask("POST", "/v1/completions", b)[0], bodies))
                self.assertEqual(set(statuses), {200})
            command = [OPTIONS.loci, "serve", "-m", OPTIONS.model, "--replay", path, "--json"]
            done = subprocess.run([*command, "--threads", "1"], capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(json.loads(done.stdout)["choices"], 20)
            # A token that was recorded otherwise is noticed.
            lines = open(path).read().splitlines()
            at = next(i for i, line in enumerate(lines) if line.startswith('{"done"') and json.loads(line)["result"].get("tokens"))
            event = json.loads(lines[at])
            event["result"]["tokens"][0] ^= 1
            lines[at] = json.dumps(event)
            open(path, "w").write("\n".join(lines) + "\n")
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 1)
            self.assertIn("gave other tokens", done.stdout)

    def test_connections_and_streams_that_wait_cost_little(self):
        body = json.dumps({"prompt": "a", "max_tokens": 900, "ignore_eos": True, "stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        count = 300
        with self.serve("--batch", "1", "--queue", "1000", "--drain-seconds", "0") as server:
            server.complete("a", max_tokens=20)
            before = server.resident_bytes()
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
            for s in clients:
                s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                s.recv(1000)
            idle = (server.resident_bytes() - before) / count
            for s in clients:
                s.sendall(head.encode() + body)
                time.sleep(0.01)  # they are read one after the other
            end = time.monotonic() + 60
            while server.metric("loci_requests_waiting") < count / 2:  # those that came first may have their answers
                self.assertLess(time.monotonic(), end)
                time.sleep(0.1)
            waiting = (server.resident_bytes() - before) / server.metric("loci_requests_waiting")
            print(f"bytes of an idle connection {idle:.0f}, of a stream that waits {waiting:.0f}")
            if not OPTIONS.sanitized:
                self.assertLess(idle, 40 << 10)
                self.assertLess(waiting, 40 << 10)
            for s in clients:
                s.close()

    def test_as_many_as_may_wait_may_come_at_once(self):
        body = json.dumps({"prompt": "a", "max_tokens": 20, "ignore_eos": True, "stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with self.serve("--batch", "256", "--queue", "256", "--kv-memory", "2G", "--drain-seconds", "0") as server:
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(256)]
            for s in clients:
                s.sendall(head.encode() + body)
            for s in clients:
                s.settimeout(120)
                self.assertEqual(s.recv(12), b"HTTP/1.1 200")
                s.close()

    def test_a_conversation_goes_on_after_kill(self):
        turns = [TEXT * 4, " And then? " + TEXT, " And after that? "]

        def converse(server, first, restart):
            prompt = ""
            for turn in turns[:first]:
                prompt += turn
                done = server.complete(prompt, max_tokens=20, ignore_eos=True)
                prompt += done["choices"][0]["text"]
            if restart:
                server = restart(server)
            done = server.complete(prompt + turns[first], max_tokens=20, ignore_eos=True)
            return done["choices"][0]["text"], done["usage"]

        with tempfile.TemporaryDirectory() as folder:
            with self.serve() as server:
                known, kept = converse(server, 2, None)

            def restart(server, kill):
                before, now, end = -1, 0, time.monotonic() + 60
                while now != before or now == 0:
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.5)
                    server.complete("a", max_tokens=1)  # a pass, so that the metrics are new
                    before, now = now, server.metric("loci_snapshot_bytes")
                server.process.send_signal(kill)
                server.process.wait(30)
                return self.serve("--store", folder).__enter__()

            for kill in (signal.SIGKILL, signal.SIGTERM):
                second = []
                first = self.serve("--store", folder).__enter__()
                text, usage = converse(first, 2, lambda s: second.append(restart(s, kill)) or second[0])
                second[0].__exit__()
                self.assertEqual(text, known)
                # No less than without a restart, where what is read is the last answer and the new turn.
                self.assertGreaterEqual(usage["prompt_tokens_details"]["cached_tokens"], kept["prompt_tokens_details"]["cached_tokens"])
                self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"] // 2)
            # A damaged file is told of, and its prompt is read.
            files = list(pathlib.Path(folder).glob("*.kv"))
            self.assertTrue(files)
            for path in files:
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
                self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            with self.serve("--store", folder) as server:
                text, usage = converse(server, 2, None)
                self.assertEqual(text, known)
            self.assertTrue(any("snapshot" in line and "removed" in line for line in server.log), server.log[-5:])

    def test_an_answer_is_read_before_its_conversation_goes_on(self):
        """With --store, while nobody waits: the next turn finds the last answer, in memory and after a kill."""
        template = pathlib.Path(__file__).resolve().parents[1] / "data" / "chat" / "smollm2.jinja"
        first = {"messages": [{"role": "user", "content": TEXT * 4}], "max_tokens": 200, "temperature": 0, "ignore_eos": True}

        def ask(server, body):
            out = server.json("POST", "/v1/chat/completions", body)
            return out["choices"][0]["message"], out["usage"]

        def second(answer):
            return {**first, "messages": first["messages"] + [answer, {"role": "user", "content": "And?"}], "max_tokens": 20}

        with self.serve("--chat-template", str(template)) as server:
            answer, usage = ask(server, first)
            known, without = ask(server, second(answer))
        self.assertLess(without["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"])
        with tempfile.TemporaryDirectory() as folder:
            options = ["--chat-template", str(template), "--store", folder]
            server = self.serve(*options).__enter__()
            self.assertEqual(ask(server, first)[0], answer)
            blocks = (usage["prompt_tokens"] + 200) // 64
            end = time.monotonic() + 60
            while server.metric("loci_prefix_blocks") < blocks or server.metric("loci_snapshot_blocks_written_total") < blocks:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.1)
                if server.metric("loci_prefix_blocks") >= blocks:
                    server.complete("a", max_tokens=1)  # a pass, so that the metrics are new
            server.process.kill()
            server.process.wait(30)
            with self.serve(*options) as server:
                for _ in range(2):  # from the disk, then from memory
                    text, with_store = ask(server, second(answer))
                    self.assertEqual(text, known)
                    self.assertGreaterEqual(with_store["prompt_tokens_details"]["cached_tokens"], 64 * blocks - 64)

    def test_pages_that_cannot_be_had_end_answers_and_not_the_server(self):
        """Every 13th page is refused: whoever needs it ends with an error or begins anew, nobody waits for ever."""
        with self.serve("--fail-pages", "13", "--batch", "8") as server:
            plans = ["dense", "retain=snapkv(budget=48,window=8)", "store=kv4"]
            statuses = []

            def ask(i):
                body = {"prompt": f"Story {i}. " + TEXT * (1 + i % 7), "max_tokens": 24, "temperature": 0, "attention": plans[i % 3]}
                status, _, data = server.ask("POST", "/v1/completions", body, timeout=90)
                statuses.append((status, b"limit_exceeded" in data))

            threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(24)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(90)
            self.assertEqual(len(statuses), 24)
            self.assertLessEqual(set(statuses), {(200, False), (400, True)})
            self.assertIn((200, False), statuses)
            end = time.monotonic() + 20  # the last answer may be here before its pass is told of
            while server.metric("loci_kv_pages_in_use") != server.metric("loci_prefix_pages"):
                self.assertLess(time.monotonic(), end, "pages are held for nobody")
                time.sleep(0.05)

    def test_a_record_and_a_store_do_not_go_together(self):
        done = subprocess.run([OPTIONS.loci, "serve", "-m", OPTIONS.model, "--store", "a", "--record", "b", "--port", "0"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--store", done.stderr)

    def test_a_trace_opens(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "trace.json")
            with self.serve("--trace", path) as server:
                server.complete(TEXT, max_tokens=5)
            events = [e for e in json.load(open(path)) if e]
            self.assertTrue(any(e["ph"] == "X" and e["args"]["prompt_rows"] > 0 for e in events))
            self.assertTrue(any(e["name"] == "answers" for e in events))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loci", required=True)
    parser.add_argument("--sanitized", action="store_true", help="memory is not that of the product")
    parser.add_argument("model")
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
