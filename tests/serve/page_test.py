#!/usr/bin/env python3
"""The server's page in a real browser, used as a person would: by mouse, by keyboard, with dropped files, in light and dark, on a
phone. After each test the console is empty and nothing was asked of anybody but the server.

    python3 tests/serve/page_test.py --loci build/cpu/loci MODEL [--pictures FOLDER]

Exits with 77, which ctest takes for "skipped", where there is no Chromium. --pictures keeps what was seen. Standard library only.
"""
import argparse
import json
import pathlib
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "browser"))
sys.path.insert(0, str(TESTS / "serve"))
import chromium  # noqa: E402
from served import Served  # noqa: E402

OPTIONS = None
TEXT = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
NEEDLE = "One of the special magic numbers for silver-fox is: 4815162. "
QUESTION = "What is the special magic number for silver-fox? The special magic number for silver-fox is"
DONE = "!running && turns.length && Object.values(turns.at(-1).answers).every(a => a.end) && !toDraw.size"  # drawing waits for a frame
TEMPLATE = TESTS / "data" / "chat" / "smollm2.jinja"


class Page(unittest.TestCase):
    """One server and one tab for all tests of a class; each begins with the page as it is loaded."""
    SERVER = ["--chat-template", str(TEMPLATE)]
    CONTEXT = "2048"
    REFUSALS = []  # answers with an error's status that a test expects, as (status, path)

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # the browser may still be leaving
        cls.addClassCleanup(cls.folder.cleanup)
        cls.files = pathlib.Path(cls.folder.name)
        cls.start()
        cls.server = Served(OPTIONS.loci, OPTIONS.model, "--ctx", cls.CONTEXT, *cls.SERVER).__enter__()
        cls.addClassCleanup(lambda: cls().assertEqual(cls.server.process.returncode, 0, "".join(cls.server.log)[-2000:]))
        cls.addClassCleanup(cls.server.__exit__)
        cls.tab = chromium.Tab(chromium.find(), f"{cls.folder.name}/profile", f"127.0.0.1:{cls.server.port}").__enter__()
        cls.addClassCleanup(cls.tab.__exit__)

    @classmethod
    def start(cls):
        pass

    def setUp(self):
        self.tab.look(1280, 900)
        self.tab.events.clear()
        self.tab.open(self.server.url + "/")
        self.tab.wait("document.body && document.body.dataset.ready === 'yes'")

    def tearDown(self):
        self.assertEqual(self.tab.told(), [])
        self.assertEqual(self.tab.refused(), self.REFUSALS)
        self.assertEqual([a for a in self.tab.asked() if not a.startswith((self.server.url + "/", "blob:", "data:image/svg+xml,"))], [])
        self.assertEqual(self.tab.proxy.asked_by_pages(), [])

    def set(self, field, value):
        self.tab.js(f"byId({json.dumps(field)}).value = {json.dumps(value)}; 1")

    def plan(self, side, plan):
        self.tab.click(f"#plan-{side}")
        self.tab.js(f"byId('plan-{side}').select(); 1")
        self.tab.write(plan)
        self.tab.key("Enter")

    def ask(self, text):
        self.tab.click("#text")
        self.tab.write(text)
        self.tab.key("Enter")
        self.tab.wait(DONE)

    def hold_to_length(self):
        """What the model says may be short: from here on answers end where their length does."""
        self.tab.js("window.plainFetch ??= window.fetch; window.fetch = (u, o) => plainFetch(u, o?.body && {...o, "
                    "body: JSON.stringify({...JSON.parse(o.body), ...(u.endsWith('completions') && {ignore_eos: true})})}); 1")

    def answers(self):
        return self.tab.js("Object.values(turns.at(-1).answers).map(a => ({side: a.side, text: a.text, end: a.end, memory: a.memory, "
                           "usage: a.usage, shown: a.words.textContent}))")

    def keep_picture(self, name):
        if OPTIONS.pictures:
            self.tab.picture(OPTIONS.pictures / f"{name}.png")


class Chat(Page):
    CONTEXT = "8192"  # room for an answer that nobody waits for

    def test_an_answer_streams(self):
        self.tab.js("window.lengths = []; new MutationObserver(() => { const p = document.querySelector('.answer pre'); "
                    "if (p) lengths.push(p.textContent.length); }).observe(byId('conversation'), {childList: true, subtree: true, characterData: true}); 1")
        self.hold_to_length()
        self.set("most", 400)  # more than a busy browser takes at once
        self.ask(TEXT * 8 + NEEDLE + TEXT * 8 + QUESTION)
        self.assertGreater(self.tab.js("new Set(lengths).size"), 3, "the text comes in pieces")
        [answer] = self.answers()
        self.assertEqual(answer["shown"], answer["text"])
        self.assertTrue(answer["text"])
        usage, memory = answer["usage"], answer["memory"]
        self.assertTrue(memory["last"])
        self.assertEqual(memory["kv_bytes"], usage["kv_bytes"])
        self.assertEqual(memory["prompt_tokens"], usage["prompt_tokens"])
        self.assertTrue(any(a.endswith("/v1/chat/completions") for a in self.tab.asked()))
        self.assertTrue(self.tab.js("byId('fallback').hidden"))
        shown = self.tab.js("byId('pictures').innerText")
        for word in ("KV cache", "kept per head", "prefill", "decode"):
            self.assertIn(word, shown)
        self.assertIn(f"{memory['tokens']:,}", self.tab.js("byId('room').textContent"))
        before = answer["usage"]["prompt_tokens"]
        self.ask("And once more?")
        self.assertGreater(self.answers()[0]["usage"]["prompt_tokens"], before, "the conversation goes on")
        self.assertGreater(self.answers()[0]["memory"]["cached_tokens"], 0)

    def test_plans_are_offered_as_the_registry_has_them(self):
        registry = self.server.json("GET", "/v1/attention_plans")
        self.tab.click("#plan-a")
        offered = set(self.tab.js("[...document.querySelectorAll('#plan-a-offers [role=option] :first-child')].map(e => e.textContent)"))
        examples = set(self.tab.js("starters().map(([plan]) => plan)"))
        self.assertEqual(offered - examples, {named["name"] for named in registry["methods"] + registry["presets"]})
        for plan in examples:
            self.server.json("POST", "/v1/completions/tokens", {"prompt": "a", "attention": plan})
        self.keep_picture("offers")
        self.tab.write("snap")
        self.tab.key("ArrowDown")
        self.tab.key("Enter")
        self.assertEqual(self.tab.js("planFields.a.plan"), "snapkv(")
        parameters = next(m for m in registry["methods"] if m["name"] == "snapkv")["parameters"]
        hints = self.tab.js("byId('plan-a-offers').textContent")
        for p in parameters:
            limits = f"{p['least']} to {p['most']}" if p["type"] == "integer" else " | ".join(p.get("words", []))
            for hint in (p["meaning"], f"{p['name']}={p['default']}", limits):
                self.assertIn(hint, hints)
        self.tab.key("ArrowDown")
        self.tab.key("Enter")
        self.tab.write(")")
        self.assertEqual(self.tab.js("planFields.a.plan"), f"snapkv({parameters[0]['name']}={parameters[0]['default']})")
        self.tab.write("; store=")
        offered = self.tab.js("[...document.querySelectorAll('#plan-a-offers [role=option] :first-child')].map(e => e.textContent)")
        self.assertEqual(offered, [m["name"] for m in registry["methods"] if "store" in m["stages"]])
        self.tab.key("Escape")
        self.assertTrue(self.tab.js("byId('plan-a-offers').hidden"))

    def test_two_plans_side_by_side(self):
        self.tab.click("#compare")
        self.plan("a", "dense")
        self.plan("b", "snapkv(budget=48,window=8)")
        self.set("most", 24)
        self.ask(TEXT * 10 + NEEDLE + TEXT * 10 + QUESTION)
        a, b = self.answers()
        self.assertEqual(a["usage"]["prompt_tokens"], b["usage"]["prompt_tokens"])
        self.assertLess(b["memory"]["kv_bytes"], a["memory"]["kv_bytes"] / 2)
        for held in b["memory"]["heads"]:
            self.assertLess(held["kept"], 120)
        self.assertEqual(self.tab.js("document.querySelectorAll('.picture:not([hidden])').length"), 2)
        # As many canvas pixels have the side's colour as entries are kept.
        full = "(side => { const c = pictures[side].canvas, d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; " \
               "for (let i = 0; i < d.length; i += 4) n += d[i + 3] > 0 && Math.abs(d[i] - d[i + 2]) > 60; return n / (c.width * c.height); })"
        self.assertGreater(self.tab.js(full + "('a')"), 0.5)
        self.assertLess(self.tab.js(full + "('b')"), 0.4)
        self.assertEqual(self.tab.js("document.querySelectorAll('#growth polyline:not(.end)').length"), 2)
        # Marks: the words that are not marked are the same on both sides.
        plain = "side => { const c = turns.at(-1).answers[side].words.cloneNode(true); c.querySelectorAll('mark').forEach(m => m.remove()); " \
                "return c.textContent.split(/\\s+/).filter(Boolean).join(' '); }"
        self.assertEqual(self.tab.js(f"({plain})('a')"), self.tab.js(f"({plain})('b')"))
        self.assertEqual(a["shown"], a["text"])
        self.assertEqual(bool(self.tab.js("document.querySelectorAll('mark').length")), a["text"].split() != b["text"].split())
        self.keep_picture("compared")
        self.plan("b", "dense")
        self.ask("Again.")
        self.assertIn("differ" if self.answers()[0]["text"] != self.answers()[1]["text"] else "say the same",
                      self.tab.js("[...document.querySelectorAll('.verdict')].at(-1).textContent"))

    def test_differences_of_texts(self):
        flags = self.tab.js("differing('a b c d e'.split(' '), 'a x c e f'.split(' '))")
        self.assertEqual(flags, [[False, True, False, True, False], [False, True, False, False, True]])
        self.assertEqual(self.tab.js("differing([], ['a'])"), [[], [True]])
        self.assertEqual(self.tab.js("differing(['a'], ['a'])"), [[False], [False]])

    def test_a_dropped_file_is_read(self):
        notes = self.files / "notes.md"
        notes.write_text("# Notes\n\n" + TEXT * 6 + NEEDLE + TEXT * 6)
        self.tab.drop("#conversation", notes)
        self.tab.wait("files.length && files[0].tokens")
        shown = self.tab.js("byId('files').textContent")
        tokens = self.server.json("POST", "/v1/completions/tokens", {"prompt": notes.read_text()})["prompt_tokens"]
        self.assertIn(f"{notes.stat().st_size:,} bytes, {tokens:,} tokens", shown)
        self.set("most", 16)
        self.ask(QUESTION)
        self.assertGreater(self.answers()[0]["usage"]["prompt_tokens"], tokens)
        self.assertEqual(self.tab.js("files.length"), 0)
        self.assertIn(NEEDLE, self.tab.js("document.querySelector('.question details pre').textContent"))

    def test_what_comes_in_is_text(self):
        evil = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script><b>bold</b>"
        path = self.files / "<img src=x onerror=window.hacked=1>.txt"
        path.write_text(evil)
        self.tab.drop("#composer", path)
        self.tab.wait("files.length && files[0].tokens")
        self.set("most", 8)
        self.ask(evil)
        self.tab.js(f"Object.values(turns.at(-1).answers)[0].append({json.dumps(evil)}); 1")
        self.assertEqual(self.tab.js("document.querySelectorAll('#conversation img, #conversation script, #conversation b, #files img').length"), 0)
        self.assertIsNone(self.tab.js("window.hacked"))
        self.assertIn(evil, self.tab.js("byId('conversation').textContent"))

    def test_the_keyboard_alone(self):
        self.assertEqual(self.tab.js("document.activeElement.id"), "text", "one can write at once")
        names = []
        for _ in range(40):
            self.tab.key("Tab")
            names.append(self.tab.js("document.activeElement.id || document.activeElement.textContent"))
            if names[-1] == "text":
                break
        for name in ("compare", "settings-button", "theme", "conversation", "plan-a", "add-file", "send"):
            self.assertIn(name, names)
        while self.tab.js("document.activeElement.id") != "compare":
            self.tab.key("Tab")
        self.tab.key("Space")
        while self.tab.js("document.activeElement.id") != "plan-a":
            self.tab.key("Tab")
        self.tab.write("store=kv")
        for key in ("ArrowUp", "Enter", "Tab"):
            self.tab.key(key)
        self.assertEqual(self.tab.js("document.activeElement.id"), "plan-b")
        self.tab.write("dense")
        while self.tab.js("document.activeElement.id") != "text":
            self.tab.key("Tab")
        self.tab.write("A first line")
        self.tab.key("Enter", shift=True)
        self.assertFalse(self.tab.js("!!running"))
        self.set("most", 6)
        self.tab.write("and a second.")
        self.tab.key("Enter")
        self.tab.wait(DONE)
        self.assertEqual(self.tab.js("turns[0].text"), "A first line\nand a second.")
        self.assertEqual([a["end"] in ("stop", "length") for a in self.answers()], [True, True])
        while self.tab.js("document.activeElement.tagName") != "CANVAS":
            self.tab.key("Tab")
        self.tab.key("ArrowDown")
        self.tab.key("ArrowRight")
        self.assertIn("Layer 1, KV head 1:", self.tab.js("document.activeElement.closest('.picture').querySelector('.readout').textContent"))
        self.assertIn("Layer 1, KV head 1:", self.tab.js("pictures.a.readout.textContent"))

    def test_an_answer_can_be_stopped(self):
        self.set("most", 8000)
        for stop in (lambda: self.tab.key("Escape"), lambda: self.tab.click("#stop")):
            self.tab.click("#text")
            self.tab.write("Go on and on.")
            self.hold_to_length()
            self.tab.key("Enter")
            self.tab.wait("running && turns.at(-1).answers.a?.memory?.completion_tokens > 20")
            stop()
            self.tab.wait("!running")
            self.assertEqual(self.answers()[0]["end"], "stopped")
            self.tab.wait("fetch('/metrics').then(r => r.text()).then(t => / 0$/.test(t.match(/^loci_sequences_running .*$/m)[0]))", 20)
            self.tab.click("#clear")

    def test_everything_has_a_name(self):
        self.tab.click("#compare")
        self.tab.click("#settings-button")
        self.set("most", 4)
        self.ask("Hello")
        roles = {"button", "textbox", "combobox", "listbox", "spinbutton", "link", "img", "image", "checkbox", "DisclosureTriangle", "progressbar"}
        tree = self.tab.call("Accessibility.getFullAXTree")["nodes"]
        seen = [(n["role"]["value"], n.get("name", {}).get("value")) for n in tree if not n["ignored"] and n["role"]["value"] in roles]
        self.assertGreater(len(seen), 15)
        self.assertEqual([s for s in seen if not s[1]], [])

    def test_it_fits_a_phone(self):
        self.tab.click("#compare")
        self.set("most", 12)
        self.ask(TEXT * 4)
        for dark in (False, True):
            self.tab.look(360, 740, dark)
            self.tab.wait("!byId('memory').open && document.documentElement.scrollWidth <= 360")
            self.assertEqual(self.tab.js("[...document.querySelectorAll('header *, main *')].filter(e => e.offsetParent && !e.closest('.unseen, svg') && "
                                         "e.getBoundingClientRect().right > 361).map(e => e.outerHTML.slice(0, 90))"), [])
            self.tab.click("#memory > summary")
            self.tab.wait("pictures.a.canvas.clientWidth > 200 && document.documentElement.scrollWidth <= 360")
            self.keep_picture("phone-dark" if dark else "phone")
            self.tab.click("#memory > summary")

    def test_light_and_dark(self):
        self.set("most", 24)
        self.ask(TEXT * 8 + NEEDLE + QUESTION)
        grounds = []
        for dark in (False, True):
            self.tab.look(1280, 900, dark)
            self.tab.wait(f"document.documentElement.dataset.theme === '{'dark' if dark else 'light'}'")
            grounds.append(self.tab.js("getComputedStyle(document.body).backgroundColor"))
            self.keep_picture("dark" if dark else "light")
        self.assertNotEqual(*grounds)
        # Text on its ground, by the ratio that WCAG asks of small text.
        ratio = "((f, g) => { const l = c => { const [r, g, b] = c.match(/[\\da-f]{2}/g).map(h => { const v = parseInt(h, 16) / 255; " \
                "return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; }; " \
                "const [x, y] = [l(color(f)), l(color(g))].sort((m, n) => n - m); return (x + .05) / (y + .05); })"
        for theme in ("light", "dark"):
            self.tab.js(f"document.documentElement.dataset.theme = '{theme}'; 1")
            for text in ("--ink", "--quiet", "--error", "--a", "--b"):
                for ground in ("--ground", "--surface"):
                    self.assertGreater(self.tab.js(f"{ratio}('{text}', '{ground}')"), 4.5, (theme, text, ground))
        self.tab.click("#theme")
        self.assertEqual(self.tab.js("document.documentElement.dataset.theme"), "light")

    def test_a_conversation_is_saved(self):
        self.tab.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(self.files))
        self.set("most", 6)
        self.ask("Say ``` and stop.")
        for kind, name in (("json", "conversation.json"), ("markdown", "conversation.md")):
            self.tab.click("#save")
            self.tab.click(f"#save-{kind}")
            for _ in range(500):
                if (self.files / name).exists() and (self.files / name).stat().st_size:
                    break
                self.tab.js("new Promise(r => setTimeout(r, 20))")
        saved = json.loads((self.files / "conversation.json").read_text())
        [answer] = self.answers()
        self.assertEqual(saved["turns"][0]["question"], "Say ``` and stop.")
        self.assertEqual(saved["turns"][0]["answers"][0]["text"], answer["text"])
        self.assertEqual(saved["turns"][0]["answers"][0]["usage"], answer["usage"])
        self.assertIn("````\nSay ``` and stop.\n````", (self.files / "conversation.md").read_text())
        self.tab.click("#clear")
        self.assertEqual(self.tab.js("[turns.length, document.querySelectorAll('.answer').length, byId('welcome').hidden]"), [0, 0, False])
        self.assertEqual(self.tab.js("[localStorage.length, sessionStorage.length, document.cookie]"), [0, 0, ""])


class WithoutTemplate(Page):
    SERVER = []

    def test_it_is_said_and_the_text_is_completed(self):
        self.assertFalse(self.tab.js("byId('fallback').hidden"))
        self.assertIn("needle has no chat template", self.tab.js("byId('fallback').textContent"))
        self.set("most", 16)
        self.ask(TEXT * 6 + NEEDLE + TEXT * 6 + QUESTION)
        self.assertIn("4815162", self.answers()[0]["text"])
        self.assertFalse(any("/chat/" in asked for asked in self.tab.asked()))
        self.keep_picture("without-template")


class Refused(Page):
    """What the server refuses stands where it was asked for."""

    def test_a_plan(self):
        type(self).REFUSALS = [(400, "/v1/completions/tokens"), (400, "/v1/chat/completions")]
        self.plan("a", "store=kv5")
        self.tab.wait("planFields.a.error.textContent")
        self.assertIn("did you mean 'kv8' or 'kv4'", self.tab.js("planFields.a.error.textContent"))
        self.assertEqual(self.tab.js("byId('plan-a').getAttribute('aria-invalid')"), "true")
        self.ask("Hello")
        self.assertIn("kv5", self.tab.js("document.querySelector('.answer .error').textContent"))
        self.assertEqual(self.tab.js("[turns.length, byId('text').value]"), [0, "Hello"])

    def test_a_plan_that_the_model_cannot_follow(self):
        type(self).REFUSALS = [(400, "/v1/completions/tokens")]
        self.plan("a", "store=kv4@5000")
        self.tab.wait("planFields.a.error.textContent")
        self.assertIn("the model has 6", self.tab.js("planFields.a.error.textContent"))

    ask = lambda self, text: (self.tab.click("#text"), self.tab.write(text), self.tab.key("Enter"), self.tab.wait("!running"))

    def test_files(self):
        type(self).REFUSALS = [(400, "/v1/completions/tokens")]
        long, binary, empty = self.files / "long.txt", self.files / "code.bin", self.files / "empty.py"
        long.write_text(TEXT * 200)
        binary.write_bytes(b"\x7fELF\x00\xff\xfe")
        empty.write_text("")
        self.tab.drop("#conversation", long, binary, empty)
        self.tab.wait("files.length === 3 && files.every(f => f.error)")
        said = self.tab.js("[...byId('files').children].map(e => e.textContent)")
        self.assertIn("the context holds 2048", said[0])
        self.assertIn("not a text", said[1])
        self.assertIn("empty", said[2])
        self.tab.click("#files button")
        self.assertEqual(self.tab.js("files.length"), 2)

    def test_a_page_cannot_be_made_to_ask_elsewhere(self):
        """And the test would notice if it did."""
        type(self).REFUSALS = []
        self.assertEqual(self.tab.js("fetch('http://example.org/').then(() => 'went', () => 'refused')"), "refused")
        self.tab.js("const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s); 1")
        self.assertIsNone(self.tab.js("window.hacked"))
        told = self.tab.told()
        self.assertTrue(any("connect-src" in line for line in told) and any("script-src" in line for line in told), told)
        self.tab.events.clear()


class WithKeys(Page):
    @classmethod
    def start(cls):
        path = cls.files / "keys.txt"
        path.write_text("secret-key-of-alice-1 alice\n")
        path.chmod(0o600)
        cls.SERVER = [*Page.SERVER, "--api-keys", str(path)]
        cls.REFUSALS = [(401, "/v1/models"), (401, "/v1/models")]

    def setUp(self):
        self.tab.look(1280, 900)
        self.tab.open(self.server.url + "/")
        self.tab.wait("document.activeElement && document.activeElement.id === 'key'")

    def test_a_key_is_asked_for(self):
        self.tab.write("wrong")
        self.tab.key("Enter")
        self.tab.wait("byId('key-error').textContent.includes('unknown')")
        self.tab.js("byId('key').select(); 1")
        self.tab.write("secret-key-of-alice-1")
        self.tab.key("Enter")
        self.tab.wait("document.body.dataset.ready === 'yes'")
        self.assertTrue(self.tab.js("byId('key-form').hidden"))
        self.set("most", 4)
        self.ask("Hello")
        self.assertTrue(self.answers()[0]["memory"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loci", required=True)
    parser.add_argument("--pictures", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("model")
    OPTIONS, rest = parser.parse_known_args()
    if chromium.find() is None:
        print("skipped:", chromium.HOW_TO_GET)
        sys.exit(chromium.SKIPPED)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
