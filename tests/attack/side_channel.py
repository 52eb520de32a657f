#!/usr/bin/env python3
"""One client does not find what another wrote, by counts or by time; a system text of several is shared."""
import http.client
import json
import re
import statistics
import subprocess
import sys

import _server



class Server:
    def __init__(self, options, *more):
        command = [options.program, "serve", options.model, "--port", "0", "--quiet", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = int(re.search(r":(\d+)/", self.process.stdout.readline()).group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def ask(self, address, system, question, **more):
        """Cached tokens and milliseconds of the prompt."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20, source_address=(address, 0))
        body = {"messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
                "max_tokens": 1, **more}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"], answer["timings"]["prompt_ms"]


def main():
    options = _server.arguments(__doc__)
    checks = _server.Checks()
    check = checks.check

    long = "You keep the records of a small harbour and answer in few words. " * 8
    secret, question = long + "The PIN is 7391.", "Which ships lie in the harbour today, and which are due? " * 4
    with Server(options) as server:
        server.ask("127.0.0.1", secret, question)
        own, _ = server.ask("127.0.0.1", secret, question)
        check(own > 64 and own % 32 == 0, f"own prompts are found again, in whole pages: {own}")
        found = [server.ask("127.0.0.2", long + f"The PIN is {pin}.", question)[0] for pin in ("7391",)]
        check(found == [0], f"a stranger who guesses all of it finds nothing: {found}")
        right, wrong = [], []
        for i in range(8):
            server.ask("127.0.0.1", f"{i} {secret}", question)
            right.append(server.ask("127.0.0.2", f"{i} {secret}", question)[1])
            wrong.append(server.ask("127.0.0.2", f"{i + 10} {secret}", question)[1])
        ratio = statistics.median(right) / statistics.median(wrong)
        check(ratio > 0.5, f"nor by time: {ratio:.2f} of a wrong guess's")
        for i in (1, 2, 3):
            server.ask(f"127.0.0.{i}", long, f"question {i}")
        shared, _ = server.ask("127.0.0.4", long, "another question")
        check(shared > 64 and shared % 32 == 0, f"a system text of several is shared: {shared}")
    with Server(options, "--share-prefix", "client") as server:
        found = [server.ask(f"127.0.0.{i}", long, question)[0] for i in (1, 2, 3, 4)]
        check(found == [0, 0, 0, 0], f"--share-prefix client shares nothing: {found}")
    with Server(options, "--share-prefix", "all") as server:
        found = [server.ask(f"127.0.0.{i}", long, question)[0] for i in (1, 2)]
        check(found[1] > 64, f"--share-prefix all shares all: {found}")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
