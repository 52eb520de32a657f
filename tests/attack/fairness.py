#!/usr/bin/env python3
"""One address that fills the queue, under many names and with priority, does not keep another waiting."""
import http.client
import json
import sys
import threading
import time

import side_channel

import _server



def post(port, address, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=12, source_address=(address, 0))
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def main():
    options = _server.arguments(__doc__)
    checks = _server.Checks()
    check = checks.check

    with side_channel.Server(options) as server:
        stop = time.monotonic() + 8

        def flood(number):
            count = 0
            while time.monotonic() < stop:
                count += 1
                post(server.port, "127.0.0.1",
                     {"messages": [{"role": "user", "content": f"{number} {count}"}], "n": 8, "max_tokens": 400,
                      "ignore_eos": True, "priority": 100, "user": f"name {number} {count}"})

        threads = [threading.Thread(target=flood, args=(number,), daemon=True) for number in range(9)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        seconds, statuses = [], []
        for i in range(5):
            begin = time.monotonic()
            statuses.append(post(server.port, "127.0.0.2",
                                 {"messages": [{"role": "user", "content": f"hello {i}"}], "max_tokens": 4}))
            seconds.append(time.monotonic() - begin)
        check(statuses == [200] * 5, f"another address gets in and is answered: {statuses}")
        check(max(seconds) < 3, f"soon: at most {max(seconds):.2f} s")
        stop = 0
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
