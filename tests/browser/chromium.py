"""A headless Chromium for tests: one that opens a page and dumps it, and one that is driven like a person would, over the
DevTools protocol on a pipe. Standard library only."""
import base64
import fcntl
import json
import os
import pathlib
import re
import select
import shutil
import socketserver
import subprocess
import sys
import threading
import time

SKIPPED = 77  # ctest's word for a test that could not run
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_GET = "there is no Chromium; install it with tools/install_packages.sh browser (Debian's package chromium)"
# Chromium's own errands (updates, suggestions) are none of the page's.
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-default-apps", "--disable-sync", "--disable-domain-reliability", "--disable-extensions",
         "--disable-features=OptimizationHints,MediaRouter,Translate", "--enable-logging=stderr"]
# It runs some whatever it is told: the time, updates, accounts. Pages must not name these hosts at all.
ERRANDS = re.compile(r"^\S+ (https?://)?([\w-]+\.)*(google|googleapis|gvt1|gstatic)\.com[:/ ]")
ERRAND_HOSTS = re.compile(r"(?:google|googleapis|gvt1|gstatic)\.com")
# Nor may they ask for connections ahead, over which no byte goes that would tell.
CONNECTS_AHEAD = re.compile(r"preconnect|dns-prefetch|prerender|prefetch")


def find():
    return next((found for found in map(shutil.which, BROWSERS) if found), None)


class Proxy(socketserver.ThreadingTCPServer):
    """Notes the first line of every request and answers nothing."""
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        self.asked = []
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.server.asked.append(self.rfile.readline().decode(errors="replace").strip())

    def asked_by_pages(self):
        # Chromium opens connections ahead of its errands, and may end before it says what for. Those ask nothing.
        return [line for line in self.asked if line and not ERRANDS.match(line)]


class Dumper:
    """Opens one page after the other until it has drawn itself."""

    def __init__(self, program, folder):
        self.program, self.folder, self.proxy = program, pathlib.Path(folder), Proxy()

    def open(self, page, *what):
        """(document, what the console says, requests that left the page)"""
        self.proxy.asked.clear()
        port = self.proxy.server_address[1]
        done = subprocess.run(
            [self.program, *FLAGS, "--virtual-time-budget=20000", f"--proxy-server=127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>",
             f"--user-data-dir={self.folder}/profile", *what, page.as_uri()], capture_output=True, text=True, timeout=300)
        if done.returncode:
            sys.exit(f"{self.program} left {done.returncode}: {done.stderr[-2000:]}")
        told = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, told, self.proxy.asked_by_pages()


KEYS = {"Enter": ("Enter", 13, "\r"), "Tab": ("Tab", 9, ""), "Escape": ("Escape", 27, ""), "Space": (" ", 32, " "), "ArrowDown": ("ArrowDown", 40, ""),
        "ArrowUp": ("ArrowUp", 38, ""), "ArrowLeft": ("ArrowLeft", 37, ""), "ArrowRight": ("ArrowRight", 39, "")}


class Tab:
    """`with Tab(program, folder) as tab:` is one tab of a browser of its own. What is asked of `allowed` (a host with its port) goes
    there, everything else to a proxy that notes it."""

    def __init__(self, program, folder, allowed):
        self.program, self.folder, self.allowed, self.proxy = program, folder, allowed, Proxy()

    def __enter__(self):
        # The protocol wants its pipes as descriptors 3 and 4; a shell puts them there, from above so that neither overwrites the other.
        (low_in, self.to), (self.back, low_out) = os.pipe(), os.pipe()
        to_browser, from_browser = (fcntl.fcntl(low, fcntl.F_DUPFD, 20) for low in (low_in, low_out))
        os.close(low_in)
        os.close(low_out)
        command = [self.program, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={self.folder}", f"--proxy-server=127.0.0.1:{self.proxy.server_address[1]}",
                   f"--proxy-bypass-list=<-loopback>;{self.allowed}", "about:blank"]
        self.process = subprocess.Popen(["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", *command], pass_fds=(to_browser, from_browser),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.number, self.rest, self.events, self.session = 0, b"", [], None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        os.close(self.back)
        self.proxy.shutdown()
        self.proxy.server_close()

    def receive(self, seconds):
        """The next message, or None if none comes in that time."""
        end = time.monotonic() + seconds
        while b"\0" not in self.rest:
            if not select.select([self.back], [], [], max(0, end - time.monotonic()))[0]:
                return None
            data = os.read(self.back, 1 << 20)
            if not data:
                raise RuntimeError("the browser has gone")
            self.rest += data
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        while True:
            answer = self.receive(60)
            if answer is None:
                raise TimeoutError(method)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def js(self, expression):
        """The value of an expression, promises awaited."""
        out = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in out:
            raise RuntimeError(f"{expression}: {out['exceptionDetails']}")
        return out["result"].get("value")

    def wait(self, condition, seconds=60):
        """Until an expression is true; its value."""
        end = time.monotonic() + seconds
        while not (value := self.js(condition)):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds} s: {condition}")
            time.sleep(0.02)
        return value

    def open(self, url):
        self.call("Page.navigate", url=url)

    def key(self, name, shift=False):
        key, code, text = KEYS.get(name, (name, ord(name[0].upper()), name))
        of = {"key": key, "code": name, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **of, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **of)

    def write(self, text):
        self.call("Input.insertText", text=text)

    def middle_of(self, selector):
        box = self.js(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'nearest'}}); "
                      "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()")
        return {"x": box[0], "y": box[1]}

    def click(self, selector):
        at = self.middle_of(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def drop(self, selector, *paths):
        """Files, dragged from outside."""
        at = self.middle_of(selector)
        data = {"items": [], "files": [str(p) for p in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, data=data, **at)

    def look(self, width, height, dark=False):
        """The size of the window and the system's colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, path):
        pathlib.Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def told(self):
        """Errors and warnings of the console, exceptions, and what a policy forbade; answers with an error's status are the network's."""
        self.js("1")  # whatever is on its way has come
        out = []
        for event in self.events:
            of = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                out.append(of["exceptionDetails"].get("exception", {}).get("description", of["exceptionDetails"]["text"]))
            elif event["method"] == "Runtime.consoleAPICalled":
                out.append(f"{of['type']}: {[a.get('value') for a in of['args']]}")
            elif event["method"] == "Log.entryAdded" and of["entry"]["source"] != "network":
                out.append(f"{of['entry']['level']}: {of['entry']['text']}")
        return out

    def refused(self):
        """(status, path) of answers with an error's status."""
        self.js("1")
        return [(e["params"]["response"]["status"], "/" + e["params"]["response"]["url"].split("/", 3)[3]) for e in self.events
                if e["method"] == "Network.responseReceived" and e["params"]["response"]["status"] >= 400]

    def asked(self):
        """Addresses of all requests that the page made."""
        self.js("1")
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
