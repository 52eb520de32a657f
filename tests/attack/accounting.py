#!/usr/bin/env python3
"""Bodies that are announced, stalled or dripped lock nobody out."""
import time

from _server import Checks, Server, arguments, ask, chat, connect, receive_all, request

CHATS = "/v1/chat/completions"
MEGABYTE = 1 << 20


def announce(port, size, sent, source=""):
    client = connect(port, source)
    head = f"POST {CHATS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    try:
        client.sendall(head.encode() + b" " * sent)
    except OSError:
        pass  # refused meanwhile
    return client


def chunked(port, *pieces):
    client = connect(port)
    head = f"POST {CHATS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.sendall(head.encode() + b"".join(f"{len(p):x}\r\n".encode() + p + b"\r\n" for p in pieces))
    return client


def main():
    options = arguments(__doc__)
    checks = Checks()
    with Server(options, "--quiet") as server:
        port = server.port
        clients = [announce(port, 4 * MEGABYTE, 13) for _ in range(20)]
        answer = ask(port, "POST", CHATS, chat())
        checks.check(answer.status == 200, "20 bodies of 4 MiB that are only announced take no room", answer.status)
        for client in clients:
            client.close()

        data = request("POST", CHATS, chat()).partition(b"\r\n\r\n")[2]
        clients = [chunked(port, data[:10]) for _ in range(6)]
        answer = ask(port, "POST", CHATS, chat())
        checks.check(answer.status == 200, "a chat while six chunked ones are being sent", answer.status)
        for client in clients:
            client.sendall(f"{len(data) - 10:x}\r\n".encode() + data[10:] + b"\r\n0\r\n\r\n")
        statuses = {receive_all(client)[9:12] for client in clients}
        checks.check(statuses == {b"200"}, "all six chunked chats are answered", statuses)

        clients = [announce(port, 3 * MEGABYTE, 2 * MEGABYTE) for _ in range(20)]
        answer = ask(port, "POST", CHATS, chat(), source="127.0.0.2")
        checks.check(answer.status == 200, "one address that fills its part leaves room for another", answer.status)
        time.sleep(2.0)
        answer = ask(port, "POST", CHATS, chat(user="x" * 100, stop="y" * 1000))
        checks.check(answer.status == 200, "bodies that stalled make room for others of their address", answer.status)
        big = chat()
        big["messages"][0]["content"] = "a" * 3_000_000
        status = ask(port, "POST", CHATS, big, timeout=20).status
        checks.check(status == 400, "a body of 3 MB is read (and too long for the context) after 20 stalled ones", status)
        for client in clients:
            client.close()
        answer = ask(port, "POST", CHATS, chat())
        checks.check(answer.status == 200, "afterwards all is as before", answer.status)
    checks.end()


if __name__ == "__main__":
    main()
