"""Writes the goldens of the chat-template tests: what jinja2, set as the transformers library sets it, makes of every template and
expression in tests/data/chat. Usage: python3 tests/generate/chat_goldens.py   (needs the package jinja2)"""
import json
import pathlib

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "chat"


class Generation(Extension):
    """{% generation %} marks the assistant's text; for rendering it is transparent."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.Scope(body, lineno=line)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])

    def raise_exception(message):
        raise TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def render(env, source, messages, prompt):
    try:
        return {"text": env.from_string(source).render(
            messages=messages, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>", tools=None,
            documents=None)}
    except TemplateError as error:
        return {"error": str(error)}
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        return {"error": type(error).__name__ + ": " + str(error)}


def say(*turns):
    return [{"role": role, "content": content} for role, content in turns]


CONVERSATIONS = [
    say(("user", "Hello!")),
    say(("system", "Be brief."), ("user", "  What is 2+2?\n")),
    say(("user", "Hi"), ("assistant", "Hello there. "), ("user", "Tell me \"a\" story\nabout <b>owls</b> & 'mice'")),
    say(("system", "You see."), ("user", "Größe? 你好 🙂"), ("assistant", "<think>\nlet me\n</think>\n\nGut."), ("user", "é")),
    say(("user", "a"), ("user", "b")),
    say(("user", "Use it"), ("assistant", "calling"), ("tool", "{\"x\": 1}"), ("tool", "2"), ("assistant", "done"), ("user", "ok")),
    say(("assistant", "I begin."), ("user", "")),
    say(("system", "s1"), ("system", "s2"), ("user", "{{ not a tag }} {% nor this %}")),
]


def main():
    env = environment()
    out = []
    for path in sorted(DATA.glob("*.jinja")):
        source = path.read_text()
        for number, messages in enumerate(CONVERSATIONS):
            for prompt in (True, False):
                out.append({"template": path.name, "conversation": number, "add_generation_prompt": prompt,
                            **render(env, source, messages, prompt)})
    snippets = []
    for source in json.loads((DATA / "snippets.json").read_text()):
        snippets.append({"source": source, **render(env, source, CONVERSATIONS[3], True)})
    goldens = {"conversations": CONVERSATIONS, "templates": out, "snippets": snippets}
    (DATA / "goldens.json").write_text(json.dumps(goldens, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(out)} renderings, {len(snippets)} snippets")


if __name__ == "__main__":
    main()
