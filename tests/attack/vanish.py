#!/usr/bin/env python3
"""Who goes away stops their work, also behind pipelined bytes; who only ends their half gets the answer."""
import socket
import time

from _server import Answer, Checks, Server, arguments, chat, connect, receive_all, request, reset, wait_until

CHATS = "/v1/chat/completions"
LONG = chat(tokens=1900, ignore_eos=True, n=4)


def running(server):
    now = server.metrics()
    return now["requests_running"] + now["requests_waiting"]


def check_gone(checks, server, name, fields, behind=b"", half=0.0, leave=socket.socket.close):
    client = connect(server.port)
    client.sendall(request("POST", CHATS, {**LONG, **fields}, close=False) + behind)
    began = wait_until(lambda: running(server) > 0, 5)
    if half:
        client.shutdown(socket.SHUT_WR)
        time.sleep(half)
    still = wait_until(lambda: running(server) > 0, 1)  # between waiting and running it counts as neither
    leave(client)
    began_wait = time.monotonic()
    gone = wait_until(lambda: running(server) == 0, 3)
    checks.check(began and still and gone, f"{name}: its work ends within 3 s ({time.monotonic() - began_wait:.2f} s)", (began, still, gone))


def check_half(checks, server, name, fields):
    with connect(server.port) as client:
        client.sendall(request("POST", CHATS, chat(tokens=100, ignore_eos=True, **fields)))
        client.shutdown(socket.SHUT_WR)
        answer = Answer(receive_all(client))
    whole = answer.data.startswith(b"HTTP/1.1 200 OK\r\n") and (b"[DONE]" in answer.data or b'"completion_tokens":100' in answer.data)
    checks.check(whole, f"{name} for a half-closed client is complete", answer.data[:200])


def main():
    options = arguments(__doc__)
    checks = Checks()
    more = request("GET", "/health", close=False)
    with Server(options, "--quiet", "--threads", "1") as server:
        for kind, fields in ("one piece", {}), ("stream", {"stream": True}):
            check_half(checks, server, f"an answer in {kind}", fields)
            check_gone(checks, server, f"{kind}, closed", fields)
            check_gone(checks, server, f"{kind}, reset", fields, leave=reset)
            check_gone(checks, server, f"{kind}, closed with a request behind", fields, behind=more)
            check_gone(checks, server, f"{kind}, closed with 40 kB behind", fields, behind=more * (40_000 // len(more)))
            check_gone(checks, server, f"{kind}, half-closed, then closed", fields, half=0.3)
    checks.end()


if __name__ == "__main__":
    main()
