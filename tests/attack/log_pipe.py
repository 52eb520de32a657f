"""Nobody reads the log: the server answers on, and ends when it is told to. What a request says cannot forge the log."""
import argparse
import fcntl
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REQUESTS = 1500  # of 300 bytes in the log: far more than the pipe and the queue hold
failures = 0


def check(good, what, found=""):
    global failures
    failures += not good
    print(("ok      " if good else "FAILED  ") + what + ("" if good else f": {found}"))


def start(program, model, log):
    words = [program, "serve", model, "--port", "0", "--threads", "1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
    timer = threading.Timer(30, process.kill)
    timer.start()
    found = re.search(r":(\d+)/", process.stdout.readline())
    timer.cancel()
    return process, int(found[1]) if found else 0


def get(connection, target):
    connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            raise OSError("the server hung up")
        head += piece
    head, _, body = head.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1])


def end_of(process):
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    try:
        code = process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    process.stdout.close()
    return code, time.monotonic() - began


def nobody_reads(options):
    reader, writer = os.pipe()
    process, port = start(options.program, options.model, writer)
    os.close(writer)
    answered = 0
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            for i in range(REQUESTS):
                answered += get(connection, b"/nothing/" + str(i).encode() + b"/" + b"x" * 300) == 404
    except OSError as error:
        print(error)
    check(answered == REQUESTS, f"{REQUESTS} requests are answered while nobody reads the log", f"{answered} were")
    code, seconds = end_of(process)
    check(code == 0 and seconds < 6, "and SIGTERM ends the server", f"status {code} after {seconds:.1f} s")
    os.close(reader)


def forged_lines(options):
    reader, writer = os.pipe()
    process, port = start(options.program, options.model, writer)
    os.close(writer)
    targets = [b"/a%0a2026-01-01%20info%20forged", "/b\u202eecho".encode(), b"/c\xc2\x9b31m", b"/d\x7fx", b"/e\xff"]
    for target in targets:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                get(connection, target)
        except OSError:
            pass  # refused at once: nothing of it can be in the log
    end_of(process)
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK)
    log = b""
    while piece := os.read(reader, 65536):
        log += piece
    os.close(reader)
    text = log.decode(errors="surrogateescape")
    bad = [c for c in text if (c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)) or 0x202a <= ord(c) <= 0x202e or 0xdc80 <= ord(c) <= 0xdcff]
    check(not bad, "the log has no control characters", repr(bad))
    check(not re.search(r"^2026-01-01 info forged", text, re.M), "no request writes a line of its own", text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default=str(ROOT / "build/release/bin/inkstone"))
    parser.add_argument("--model", default=str(ROOT / "tests/data/tiny-qwen3"))
    options = parser.parse_args()
    nobody_reads(options)
    forged_lines(options)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
