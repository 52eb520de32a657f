#!/usr/bin/env python3
"""SIGTERM ends the server in time and its clients in order; a second one at once; SIGHUP is nothing."""
import resource
import signal
import time

from _server import Answer, Checks, Server, arguments, ask, chat, connect, receive_all, request, wait_until

CHATS = "/v1/chat/completions"
LONG = chat(tokens=1900, ignore_eos=True, n=4)


def start(server, **fields):
    client = connect(server.port, timeout=15)
    client.sendall(request("POST", CHATS, {**LONG, **fields}))
    return client


def check_drain(checks, options):
    with Server(options, "--quiet", "--threads", "1", "--grace", "1") as server:
        server.signal(signal.SIGHUP)
        time.sleep(0.2)
        checks.check(ask(server.port, "GET", "/health").status == 200, "SIGHUP changes nothing")
        stream, whole = start(server, stream=True), start(server)
        deaf = connect(server.port)  # reads nothing
        deaf.sendall(request("POST", CHATS, {**LONG, "stream": True}))
        busy = wait_until(lambda: server.metrics()["requests_running"] >= 3, 5)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        data, answer = receive_all(stream), Answer(receive_all(whole))
        status = server.wait(8)
        seconds = time.monotonic() - began
        checks.check(busy and status == 0 and 0.9 < seconds < 7, "SIGTERM ends the server after its grace time", (busy, status, seconds))
        checks.check(b"shutting down" in data and data.endswith(b"0\r\n\r\n"), "a stream that is cut short ends in an error event and a last chunk", data[-300:])
        checks.check(answer.status == 503 and "shutting down" in answer.text, "an answer in one piece becomes a 503", answer.data[:300])


def check_second(checks, options):
    with Server(options, "--quiet", "--threads", "1") as server:
        client = start(server, stream=True)
        wait_until(lambda: server.metrics()["requests_running"] > 0, 5)
        server.signal(signal.SIGTERM)
        time.sleep(0.3)
        checks.check(server.wait(0.01) is None, "the first SIGTERM lets an answer go on")
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        status = server.wait(3)
        seconds = time.monotonic() - began
        checks.check(status == 128 + signal.SIGTERM and seconds < 1, "a second SIGTERM ends the server at once", (status, seconds))
        client.close()


def check_memory(checks, options):
    """Without addresses for a body, requests get an answer, and the server goes on."""
    with Server(options, "--quiet", "--threads", "1") as server:
        with open(f"/proc/{server.pid}/statm", encoding="ascii") as statm:
            size = int(statm.read().split()[0]) * resource.getpagesize()
        body = chat()
        body["messages"][0]["content"] = "a" * 3_900_000
        resource.prlimit(server.pid, resource.RLIMIT_AS, (size + (2 << 20), resource.RLIM_INFINITY))
        answers = [ask(server.port, "POST", CHATS, body) for _ in range(4)]
        statuses = [answer.status for answer in answers]
        checks.check(server.wait(0.01) is None, "memory that cannot be had ends no server", server.log()[-300:])
        checks.check(all(status in (400, 500, 503) for status in statuses) and {500, 503} & set(statuses), "and requests without it are answered", statuses)
        resource.prlimit(server.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        status = ask(server.port, "POST", CHATS, chat()).status
        checks.check(status == 200, "with memory again it serves", status)


def main():
    options = arguments(__doc__)
    checks = Checks()
    check_drain(checks, options)
    check_second(checks, options)
    check_memory(checks, options)
    checks.end()


if __name__ == "__main__":
    main()
