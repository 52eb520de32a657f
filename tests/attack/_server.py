"""A server for an attack, and sockets that say exactly what they are told to. No script: the attacks import it."""
import argparse
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
READY_LIMIT = 60.0  # seconds


def arguments(text):
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--program", default=str(ROOT / "build/release/bin/inkstone"))
    parser.add_argument("--model", default=str(ROOT / "tests/data/tiny-qwen3"))
    return parser.parse_args()


class Checks:
    def __init__(self):
        self.failed = 0

    def check(self, good, what, found=""):
        self.failed += not good
        print(("ok      " if good else "FAILED  ") + what + ("" if good or found == "" else f": found {found!r}"), flush=True)

    def end(self):
        sys.exit(1 if self.failed else 0)


class Server:
    """`inkstone serve` on a free port. `before`: called in the child before it becomes the server."""

    def __init__(self, options, *words, before=None, host="127.0.0.1"):
        self.log_file = tempfile.NamedTemporaryFile(prefix="attack_", suffix=".log")
        command = [options.program, "serve", options.model, "--host", host, "--port", "0", "--context", "2048", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log_file, preexec_fn=before)
        timer = threading.Timer(READY_LIMIT, self.process.kill)
        timer.start()
        self.line = self.process.stdout.readline().decode()
        timer.cancel()
        found = re.search(r":(\d+)/$", self.line.strip())
        self.port = int(found[1]) if found else 0
        self.pid = self.process.pid

    def __enter__(self):
        if not self.port:
            self.close()
            raise RuntimeError("the server did not start: " + self.log()[-1000:])
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def log(self):
        return pathlib.Path(self.log_file.name).read_text(errors="replace")

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds):
        """The exit status, or None while it runs on."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def metrics(self):
        """Name to value, for what has no labels, all at one moment."""
        text = ask(self.port, "GET", "/metrics").text
        return {m[1]: float(m[2]) for m in re.finditer(r"^inkstone_(\w+) (\S+)$", text, re.M)}


class Answer:
    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        self.head = head.decode(errors="replace")
        words = self.head.split(" ", 2)
        self.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        self.text = self.body.decode(errors="replace")
        self.data = data


def connect(port, source="", family=socket.AF_INET, timeout=10.0):
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(timeout)
    if source:
        client.bind((source, 0))
    client.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
    return client


def receive_all(client):
    """Everything until the server ends the connection."""
    data = b""
    while True:
        try:
            piece = client.recv(65536)
        except (ConnectionError, socket.timeout):
            return data
        if not piece:
            return data
        data += piece


def request(method, path, body=None, headers=(), close=True):
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if close:
        lines.append("Connection: close")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def raw(port, data, source="", timeout=10.0):
    with connect(port, source, timeout=timeout) as client:
        try:
            client.sendall(data)
        except ConnectionError:
            pass  # refused before all of it was sent
        return Answer(receive_all(client))


def ask(port, method, path, body=None, headers=(), source="", timeout=10.0):
    return raw(port, request(method, path, body, headers), source, timeout)


def chat(tokens=4, **fields):
    return {"messages": [{"role": "user", "content": "hi"}], "max_tokens": tokens, **fields}


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()

