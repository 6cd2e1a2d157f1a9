#!/usr/bin/env python3
"""Clients that nobody here wrote, against a real server: OpenAI's Python package (sync, async, streaming, tools, structured output,
responses, embeddings), curl, and schemathesis against the OpenAPI description.

    python3 tests/serve/clients_test.py --loci build/cpu/loci MODEL [--examples 2000]

The packages come from PyPI into a virtual environment of their own, build/clients by default.
"""
import argparse
import asyncio
import json
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from served import Served  # noqa: E402

OPTIONS = None
PACKAGES = ["openai>=2", "schemathesis>=4"]
NEEDLE = "One of the special magic numbers for silver-fox is: 4815162. "
PROMPT = "The grass is green. The sky is blue. " * 12 + NEEDLE + "The special magic number for silver-fox is"
MESSAGES = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Hello. " + NEEDLE}]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}}}]


def enter_environment(folder):
    """Runs this program again in a virtual environment that has the packages."""
    python = folder / "bin" / "python"
    if pathlib.Path(sys.prefix).resolve() == folder.resolve():
        return
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
    sys.exit(subprocess.run([str(python), *sys.argv]).returncode)


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        template = ROOT / "tests" / "data" / "chat" / "smollm2.jinja"
        cls.server = Served(OPTIONS.loci, OPTIONS.model, "--ctx", "1024", "--batch", "16", "--request-seconds", "60",
                            "--chat-template", str(template)).__enter__()
        import openai
        cls.openai = openai
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        assert cls.server.process.returncode == 0, "".join(cls.server.log)[-2000:]

    def test_completions(self):
        self.assertEqual(self.client.models.list().data[0].id, "needle")
        self.assertEqual(self.client.models.retrieve("needle").id, "needle")
        done = self.client.completions.create(model="needle", prompt=PROMPT, max_tokens=12, temperature=0)
        self.assertIn("4815162", done.choices[0].text)
        stream = self.client.completions.create(model="needle", prompt=PROMPT, max_tokens=12, temperature=0, stream=True)
        self.assertEqual("".join(c.text for e in stream for c in e.choices), done.choices[0].text)
        kept = self.client.completions.create(model="needle", prompt=PROMPT, max_tokens=4, extra_body={"attention": "retain=snapkv(budget=64)"})
        self.assertGreater(kept.usage.model_extra["kept_tokens"], 0)

    def test_errors_have_their_classes(self):
        with self.assertRaises(self.openai.NotFoundError):
            self.client.completions.create(model="gpt-4", prompt="a")
        with self.assertRaises(self.openai.BadRequestError) as caught:
            self.client.completions.create(model="needle", prompt="a", extra_body={"attention": "nonsense"})
        self.assertEqual(caught.exception.param, "attention")

    def test_chat(self):
        chat = self.client.chat.completions
        done = chat.create(model="needle", messages=MESSAGES, max_tokens=8, temperature=0, logprobs=True, top_logprobs=2)
        self.assertEqual(len(done.choices[0].logprobs.content[0].top_logprobs), 2)
        stream = chat.create(model="needle", messages=MESSAGES, max_tokens=8, temperature=0, stream=True, stream_options={"include_usage": True})
        events = list(stream)
        self.assertEqual("".join(c.delta.content or "" for e in events for c in e.choices), done.choices[0].message.content)
        self.assertEqual(events[-1].usage.total_tokens, done.usage.total_tokens)
        self.assertEqual(len(chat.create(model="needle", messages=MESSAGES, max_tokens=4, n=3, seed=1).choices), 3)

    def test_tools(self):
        done = self.client.chat.completions.create(model="needle", messages=MESSAGES, tools=TOOLS, tool_choice="required", max_tokens=100)
        [call] = done.choices[0].message.tool_calls
        self.assertEqual(call.function.name, "weather")
        self.assertIn("city", json.loads(call.function.arguments))
        with self.client.chat.completions.stream(model="needle", messages=MESSAGES, tools=TOOLS, tool_choice="required", max_tokens=100) as stream:
            final = stream.get_final_completion()
        self.assertEqual(final.choices[0].message.tool_calls[0].function.name, "weather")
        back = MESSAGES + [done.choices[0].message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        self.client.chat.completions.create(model="needle", messages=back, tools=TOOLS, max_tokens=4)

    def test_structured_output(self):
        import pydantic

        class Animal(pydantic.BaseModel):
            name: str = pydantic.Field(max_length=10)
            legs: int
            tame: bool

        done = self.client.chat.completions.parse(model="needle", messages=MESSAGES, response_format=Animal, max_tokens=200)
        self.assertIsInstance(done.choices[0].message.parsed, Animal)
        out = self.client.chat.completions.create(model="needle", messages=MESSAGES, response_format={"type": "json_object"}, max_tokens=300, seed=3)
        self.assertTrue(out.choices[0].message.content.startswith("{"))

    def test_responses(self):
        done = self.client.responses.create(model="needle", instructions="You are brief.", input="Hello. " + NEEDLE, max_output_tokens=8,
                                            temperature=0)
        self.assertTrue(done.id.startswith("resp_"))
        with self.client.responses.stream(model="needle", instructions="You are brief.", input="Hello. " + NEEDLE, max_output_tokens=8,
                                          temperature=0) as stream:
            text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        self.assertEqual(text, done.output_text)
        tools = [{"type": "function", **TOOLS[0]["function"], "strict": True}]
        out = self.client.responses.create(model="needle", input="Weather?", tools=tools, tool_choice="required", max_output_tokens=100)
        call = next(item for item in out.output if item.type == "function_call")
        back = [{"role": "user", "content": "Weather?"}, call.model_dump(exclude_none=True),
                {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
        self.client.responses.create(model="needle", input=back, tools=tools, max_output_tokens=4)

    def test_embeddings(self):
        out = self.client.embeddings.create(model="needle", input=["a", "b b", "a"])
        self.assertEqual(out.data[0].embedding, out.data[2].embedding)
        self.assertNotEqual(out.data[0].embedding, out.data[1].embedding)
        plain = self.client.embeddings.create(model="needle", input="a", encoding_format="float")
        self.assertEqual([round(x, 4) for x in plain.data[0].embedding], [round(x, 4) for x in out.data[0].embedding])

    def test_async(self):
        async def ask():
            async with self.openai.AsyncOpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0) as client:
                async def one(i):
                    stream = await client.completions.create(model="needle", prompt=f"{i} {PROMPT}", max_tokens=8, temperature=0, stream=True)
                    return "".join([c.text async for e in stream for c in e.choices])
                streamed = await asyncio.gather(*[one(i) for i in range(8)])
                whole = [await client.completions.create(model="needle", prompt=f"{i} {PROMPT}", max_tokens=8, temperature=0) for i in range(8)]
                self.assertEqual(streamed, [w.choices[0].text for w in whole])
        asyncio.run(ask())

    def test_curl(self):
        done = subprocess.run(["curl", "--silent", "--show-error", "--fail-with-body", f"{self.server.url}/v1/completions", "-H",
                               "Content-Type: application/json", "-d", json.dumps({"prompt": PROMPT, "max_tokens": 12, "temperature": 0})],
                              capture_output=True, text=True, timeout=60, check=True)
        self.assertIn("4815162", json.loads(done.stdout)["choices"][0]["text"])

    def test_schemathesis(self):
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
        done = subprocess.run([str(pathlib.Path(sys.executable).absolute().parent / "schemathesis"), "run", f"{self.server.url}/openapi.json",
                               "--checks", checks, "--max-examples", str(OPTIONS.examples // 7), "--request-timeout", "120",
                               "--phases", "fuzzing", "--seed", "1", "--workers", "4"],
                              capture_output=True, text=True, cwd=OPTIONS.environment)
        print(done.stdout[-3500:])
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-1000:])
        generated = re.search(r"([\d,]+) generated", done.stdout)
        self.assertIsNotNone(generated, done.stdout[-2000:])
        self.assertGreaterEqual(int(generated.group(1).replace(",", "")), OPTIONS.examples)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loci", required=True)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--environment", type=pathlib.Path, default=ROOT / "build" / "clients")
    parser.add_argument("model")
    OPTIONS, rest = parser.parse_known_args()
    enter_environment(OPTIONS.environment)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
