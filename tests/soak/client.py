"""An HTTP client that can do what clients do at their worst: read slowly, stop, hang up, reset.

asyncio on raw sockets, so that buffers and resets are in its hands.
"""
import asyncio
import dataclasses
import json
import socket
import struct
import time


def request_bytes(method, path, body=None, headers=()):
    """The bytes of one request; `body` is sent as JSON."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


class Connection:
    """A TCP connection to the server. `receive_buffer`: bytes that the kernel takes without being read; 0: as usual."""

    def __init__(self, receive_buffer=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.close()

    async def connect(self, port):
        await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", port))

    async def send(self, data):
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def receive(self, size=65536):
        """The next bytes; b"" at the end. OSError when the connection was reset."""
        return await asyncio.get_running_loop().sock_recv(self.socket, size)

    def reset(self):
        """Ends the connection with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


class Response:
    """One response, from the bytes of the connection on."""

    def __init__(self):
        self.status = 0
        self.body = b""  # without chunk framing
        self.complete = False
        self._head = None
        self._data = b""
        self._length = None

    def feed(self, data):
        self._data += data
        if self._head is None:
            split = self._data.find(b"\r\n\r\n")
            if split < 0:
                return
            self._head, self._data = self._data[:split].decode("latin-1").lower(), self._data[split + 4:]
            self.status = int(self._head.split(" ", 2)[1])
            for line in self._head.split("\r\n")[1:]:
                name, _, value = line.partition(":")
                if name == "content-length":
                    self._length = int(value)
        if self._length is not None:
            self.body += self._data
            self._data = b""
            self.complete = len(self.body) >= self._length
        else:
            self._take_chunks()

    def _take_chunks(self):
        while not self.complete:
            line = self._data.find(b"\r\n")
            if line < 0:
                return
            size = int(self._data[:line], 16)
            if len(self._data) < line + 2 + size + 2:
                return
            self.body += self._data[line + 2:line + 2 + size]
            self._data = self._data[line + 2 + size + 2:]
            self.complete = size == 0


@dataclasses.dataclass
class Answer:
    """How a request ended."""
    kind: str  # "answer", "error" (status code and JSON error body, or a stream's error event), "left" (by this client), "broken"
    status: int = 0
    code: str = ""  # of the error
    text: str = ""
    finish: str = ""
    usage: dict = dataclasses.field(default_factory=dict)
    times: list = dataclasses.field(default_factory=list)  # of the pieces of a stream, in seconds
    detail: str = ""  # of an error or a broken one
    asked: int = 0  # prompt tokens, where that matters
    question: int | None = None  # which of those that are asked more than once

    def gaps(self):
        return [b - a for a, b in zip(self.times, self.times[1:])]


def stream_events(body):
    """The data of the server-sent events in these bytes."""
    return [part[6:] for part in body.decode("utf-8", "replace").split("\n\n") if part.startswith("data: ")]


def _take_choice(answer, choice):
    answer.text += choice.get("text") or (choice.get("message") or choice.get("delta") or {}).get("content") or ""
    answer.finish = choice.get("finish_reason") or answer.finish


def _error_answer(status, error):
    if not isinstance(error, dict) or not error.get("message") or not error.get("type"):
        return Answer("broken", status, detail=f"an error without message and type: {error}")
    return Answer("error", status, code=str(error.get("code") or error["type"]), detail=error["message"])


def judge(response, stream):
    """What the client got: an answer or a clear error, or something that should not be."""
    if not response.complete:
        return Answer("broken", response.status, detail=f"ended after {len(response.body)} bytes of the body")
    try:
        if response.status != 200:
            return _error_answer(response.status, json.loads(response.body).get("error"))
        answer = Answer("answer", 200)
        events = stream_events(response.body) if stream else [response.body]
        if stream and events.pop() != "[DONE]":
            return Answer("broken", 200, detail="a stream without [DONE]")
        for event in events:
            data = json.loads(event)
            if "error" in data:
                return _error_answer(200, data["error"])
            answer.usage = data.get("usage") or answer.usage
            for choice in data.get("choices", []):
                if choice.get("index", 0) == 0:
                    _take_choice(answer, choice)
        if not answer.finish:
            return Answer("broken", 200, detail="an answer without finish_reason")
        return answer
    except (ValueError, AttributeError, KeyError, IndexError) as error:
        return Answer("broken", response.status, detail=f"not the JSON it should be: {error}: {response.body[-200:]!r}")


async def ask(port, body, path="/v1/completions", limit=120.0, leave=None, reset=False, times=None):
    """Sends a request and reads its answer. `leave`: seconds after which this client hangs up (with RST if `reset`).

    `times`: a list that gets the times of the pieces as they come.
    """
    stream = bool(body.get("stream"))
    response, times = Response(), [] if times is None else times
    began = time.monotonic()
    async with Connection() as connection:
        try:
            await connection.connect(port)
            await connection.send(request_bytes("POST", path, body))
            while not response.complete:
                patience = limit if leave is None else leave
                data = await asyncio.wait_for(connection.receive(), max(0.001, began + patience - time.monotonic()))
                if not data:
                    break
                pieces = data.count(b"data: {")
                if pieces:
                    times.append(time.monotonic())  # pieces that come together are one for a reader
                response.feed(data)
        except asyncio.TimeoutError:
            if leave is None:
                return Answer("broken", response.status, detail=f"no end within {limit} s")
            if reset:
                connection.reset()
            return Answer("left")
        except OSError as error:
            return Answer("broken", response.status, detail=f"{type(error).__name__}: {error}")
    answer = judge(response, stream)
    answer.times = times
    return answer


async def get(port, path):
    """Status and body of a GET."""
    response = Response()
    async with Connection() as connection:
        await connection.connect(port)
        await connection.send(request_bytes("GET", path))
        while not response.complete:
            data = await asyncio.wait_for(connection.receive(), 30)
            if not data:
                break
            response.feed(data)
    return response.status, response.body.decode()
