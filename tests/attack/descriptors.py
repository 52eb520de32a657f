#!/usr/bin/env python3
"""Descriptors: limits are looked at when the server starts, and idle connections make room when they run out."""
import os
import resource
import time

from _server import Checks, Server, arguments, ask, chat, connect

CHATS = "/v1/chat/completions"


def limited(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def timed_chat(server):
    began = time.monotonic()
    try:
        status = ask(server.port, "POST", CHATS, chat()).status
    except OSError as error:
        status = error
    return status, time.monotonic() - began


def main():
    options = arguments(__doc__)
    checks = Checks()
    server = Server(options, before=limited(40, 40))
    status = server.wait(20)
    server.close()
    checks.check(server.port == 0 and status not in (0, None) and "ulimit -n" in server.log(), "a limit of 40 files is refused by name", (status, server.log()[-300:]))

    with Server(options, "--quiet", before=limited(64, 4096)) as server:
        limit = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        checks.check(limit[0] == 4096, "the soft limit is raised to the hard one", limit)
        status, _ = timed_chat(server)
        checks.check(status == 200, "and serves", status)

    with Server(options, "--quiet", before=limited(200, 200)) as server:
        checks.check("connections instead of 256" in server.log(), "fewer connections than wished are told", server.log()[-300:])
        clients = [connect(server.port) for _ in range(190)]
        time.sleep(2.2)
        status, seconds = timed_chat(server)
        checks.check(status == 200 and seconds < 5, "a chat beside as many idle connections as the limit allows", (status, seconds))
        for client in clients:
            client.close()

    with Server(options, "--quiet") as server:
        files = open_files(server) + 20
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (files, files))
        clients = [connect(server.port) for _ in range(40)]
        time.sleep(0.5)
        checks.check(open_files(server) >= files - 1, "descriptors have run out", (open_files(server), files))
        status, seconds = timed_chat(server)
        checks.check(status == 200 and seconds < 6, "an idle connection gives its descriptor to a chat", (status, seconds))
        for client in clients:
            client.close()
        time.sleep(0.3)
        status, seconds = timed_chat(server)
        checks.check(status == 200 and seconds < 3, "afterwards all is as before", (status, seconds))
    checks.end()


if __name__ == "__main__":
    main()
