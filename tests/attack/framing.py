#!/usr/bin/env python3
"""Requests that two readers could read in two ways, names of other servers, and pages of other sites are refused."""
import socket

from _server import Answer, Checks, Server, arguments, ask, chat, connect, raw, receive_all, request

CHATS = "/v1/chat/completions"
HOST = "Host: localhost\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

# Headers and body of a POST, and the statuses that are right. Every one of them closes the connection.
HEADS = [
    ("Transfer-Encoding: gzip", HOST + "Transfer-Encoding: gzip\r\n\r\n", (400, 501)),
    ("Transfer-Encoding: gzip, chunked", HOST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    ("Transfer-Encoding: xchunked", HOST + "Transfer-Encoding: xchunked\r\n\r\n" + SMUGGLED, (400, 501)),
    ("Transfer-Encoding: chunked twice", HOST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    ("Transfer-Encoding with a vertical tab", HOST + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", (400, 501)),
    ("Transfer-Encoding and Content-Length", HOST + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED, (400,)),
    ("Transfer-Encoding: identity and Content-Length", HOST + "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", (400, 501)),
    ("two Content-Lengths", HOST + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", (400,)),
    ("a space before the colon", HOST + "Content-Length : 2\r\n\r\n{}", (400,)),
    ("two Host headers", HOST + HOST + "Content-Length: 2\r\n\r\n{}", (400,)),
    ("no Host header", "Content-Length: 2\r\n\r\n{}", (400,)),
    ("a user in Host", "Host: user@localhost\r\nContent-Length: 2\r\n\r\n{}", (400,)),
    ("a user and a name in Host", "Host: localhost:80@evil.example\r\nContent-Length: 2\r\n\r\n{}", (400,)),
    ("a list in Host", "Host: localhost, evil.example\r\nContent-Length: 2\r\n\r\n{}", (400,)),
    ("a folded header", HOST + "X-A: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", (400,)),
    ("a folded Transfer-Encoding", HOST + "Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n", (400,)),
    ("a folded first header", " " + HOST + HOST + "Content-Length: 2\r\n\r\n{}", (400,)),
]


def check_heads(checks, port):
    for name, head, statuses in HEADS:
        answer = raw(port, b"POST /generate HTTP/1.1\r\n" + head.encode("latin-1"), timeout=3)
        good = answer.status in statuses and "Connection: close" in answer.head and answer.data.count(b"Server: inkstone") == 1
        checks.check(good, f"{name}: {' or '.join(map(str, statuses))}, and nothing behind it is read", answer.data[:300])
    answer = raw(port, b"POST /generate HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    checks.check(answer.status == 400, "Transfer-Encoding in HTTP/1.0: 400", answer.status)


def check_hosts(checks, port, where):
    for host, status in ("localhost", 200), ("a.localhost:1", 200), ("10.1.2.3:8080", 200), ("[::1]", 200), ("[::ffff:127.0.0.1]:1", 200), ("evil.com", 403), ("127.0.0.1.evil.com", 403), ("localhost.evil.com", 403):
        answer = raw(port, f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        checks.check(answer.status == status, f"Host: {host} {where}: {status}", answer.status)
    answer = raw(port, b"GET http://evil.com/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    checks.check(answer.status == 403, f"another host in the target {where}: 403", answer.status)


def check_pages(checks, port):
    for header, status in ("Sec-Fetch-Site: cross-site", 403), ("Sec-Fetch-Site: same-site", 403), ("Referer: https://evil.com/", 403), ("Sec-Fetch-Site: same-origin", 200), ("Sec-Fetch-Site: none", 200):
        answer = ask(port, "GET", "/stream?q=a&max_new_tokens=2", headers=[header])
        checks.check(answer.status == status, f"GET /stream with {header}: {status}", answer.status)
    data = request("POST", CHATS, chat())
    for kind in "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a":
        answer = raw(port, data.replace(b"application/json", kind.encode()))
        checks.check(answer.status == 415, f"POST as {kind}: 415", answer.status)
    answer = raw(port, data.replace(b"application/json", b"text/plain\r\nOrigin: http://localhost"))
    checks.check(answer.status == 200, "POST as text/plain by a page of this server", answer.status)
    answers = [ask(port, "GET", path) for path in ("/", "/health", "/nothing", "/v1/models", "/stream?q=a&max_new_tokens=2")]
    answers += [ask(port, "POST", CHATS, chat()), ask(port, "POST", CHATS, chat(stream=True)), raw(port, b"nonsense\r\n\r\n")]
    bad = [answer.head for answer in answers if "frame-ancestors 'none'" not in answer.head]
    checks.check(not bad, "no answer may be shown in a frame", bad)


def check_listening(checks, options):
    for host in "0.0.0.0", "::", "[::]":
        server = Server(options, host=host)
        status = server.wait(20)
        server.close()
        checks.check(server.port == 0 and status not in (0, None) and "--no-auth" in server.log(), f"--host {host} is refused, and what to do is said", (status, server.log()[-300:]))
    with Server(options, "--no-auth", "--quiet", host="0.0.0.0") as server:
        check_hosts(checks, server.port, "beyond loopback")
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).bind(("::1", 0))
    except OSError:
        return print("skipped --host [::1]: this machine has no IPv6")
    with Server(options, "--quiet", host="[::1]") as server:
        with connect(server.port, family=socket.AF_INET6) as client:
            client.sendall(request("GET", "/health"))
            answer = Answer(receive_all(client))
        checks.check(answer.status == 200 and "http://[::1]:" in server.line, "--host [::1] listens there", (answer.status, server.line))


def main():
    options = arguments(__doc__)
    checks = Checks()
    with Server(options, "--quiet") as server:
        check_heads(checks, server.port)
        check_hosts(checks, server.port, "on loopback")
        check_pages(checks, server.port)
    check_listening(checks, options)
    checks.end()


if __name__ == "__main__":
    main()
