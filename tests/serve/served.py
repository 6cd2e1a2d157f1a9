"""A running `loci serve` and a plain client for it. Standard library only."""
import http.client
import json
import socket
import ssl
import subprocess
import threading


class Served:
    """`with Served(loci, model, "--batch", "8") as server:` serves until the block ends."""

    def __init__(self, loci, model, *options, key=None, tls=None, threads="2"):
        self.command = [loci, "serve", "-m", model, "--port", "0", "--json", "--name", "needle", "--threads", threads, *options]
        self.key, self.tls = key, tls

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.reader.join()
            raise RuntimeError(f"the server ended with {self.process.returncode}: {''.join(self.log)}")
        first = line + "".join(iter(self.process.stdout.readline, "}\n")) + "}" if line.strip() == "{" else line
        self.url = json.loads(first)["url"]
        self.port = int(self.url.rsplit(":", 1)[1])
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        self.reader.join()

    def connect(self, timeout=120):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=ssl.create_default_context(cafile=self.tls))
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def headers(self, given=None):
        out = {"Content-Type": "application/json"}
        if self.key:
            out["Authorization"] = f"Bearer {self.key}"
        out.update(given or {})
        return {k: v for k, v in out.items() if v is not None}

    def ask(self, method, path, body=None, headers=None, timeout=120):
        """(status, headers, bytes) of one request."""
        connection = self.connect(timeout)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection.request(method, path, body, self.headers(headers))
        reply = connection.getresponse()
        out = reply.status, dict(reply.getheaders()), reply.read()
        connection.close()
        return out

    def json(self, method, path, body=None, expect=200, **more):
        status, _, data = self.ask(method, path, body, **more)
        assert status == expect, f"{method} {path} {str(body)[:300]}: {status} {data[:600]}"
        return json.loads(data)

    def complete(self, prompt, expect=200, **fields):
        return self.json("POST", "/v1/completions", {"prompt": prompt, "temperature": 0, **fields}, expect)

    def stream(self, path, body, headers=None, done=True):
        """The events of a streamed answer, "[DONE]" left out, which ends it if `done`."""
        connection = self.connect()
        connection.request("POST", path, json.dumps({**body, "stream": True}), self.headers(headers))
        reply = connection.getresponse()
        assert reply.status == 200, reply.read()
        assert reply.getheader("Content-Type").startswith("text/event-stream")
        events, ended = [], not done
        for line in reply:
            line = line.decode().rstrip("\n")
            if not line:
                continue
            if not done and line.startswith("event: "):
                continue
            assert line.startswith("data: "), line
            assert not done or not ended, "something comes after [DONE]"
            if line == "data: [DONE]":
                ended = True
            else:
                events.append(json.loads(line[6:]))
        assert ended, "the stream ends without [DONE]"
        connection.close()
        return events

    def raw(self, data, timeout=30):
        """What the server answers to these bytes until it closes the connection or `timeout` is over."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            try:
                s.sendall(data)
            except OSError:
                pass  # it may have answered and closed before all was sent
            out = b""
            try:
                while chunk := s.recv(65536):
                    out += chunk
                    if b"\r\n\r\n" in out and b"Connection: close" not in out.split(b"\r\n\r\n")[0]:
                        break
            except OSError:
                pass
            return out

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))

    def metric(self, name):
        _, _, text = self.ask("GET", "/metrics")
        for line in text.decode().splitlines():
            if line.startswith(name + " ") or line.startswith(name + "{"):
                return float(line.rsplit(" ", 1)[1])
        raise KeyError(name)
