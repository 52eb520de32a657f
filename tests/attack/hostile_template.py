#!/usr/bin/env python3
"""A model whose regular expression or chat template would run for ages: the request ends soon, with an error that names the limit."""
import pathlib
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests/attack"))
import script_model  # noqa: E402
from _server import arguments  # noqa: E402
import smuggling  # noqa: E402

LIMIT = 6.0  # seconds: twice what is promised, for slow machines
REGEX = {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "(?:a+)+[bc]"}, "behavior": "Isolated", "invert": False},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}
LOOPS = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
SEARCH = ("{% set s = messages[0].content %}{% set n = s[:50000] ~ 'b' ~ s[:50000] %}"
          "{% for i in range(2000) %}{% set x = s.find(n) + s.rfind(n) + s.count(n) %}{% endfor %}{{ s }}")


def ask(port, content, found):
    begin = time.monotonic()
    status, answer = smuggling.post(port, "/v1/chat/completions", {"max_tokens": 1, "messages": [{"role": "user", "content": content}]})
    found.append((status, time.monotonic() - begin, answer))


def attack(program, folder, name, expected, content, template=script_model.CHATML, pre_tokenizer=None, statuses=(400,)):
    model = pathlib.Path(folder) / name.replace(" ", "-")
    script_model.write_model(model, ["ok"], template, pre_tokenizer=pre_tokenizer)
    with smuggling.serving(program, model) as port:
        found = []
        threads = [threading.Thread(target=ask, args=(port, content, found)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(4 * LIMIT)
        for status, seconds, answer in found:
            message = str(answer.get("error", {}).get("message", ""))
            good = status in statuses and expected in message and str(folder) not in message
            smuggling.check(good, f"{name}: an error that names the limit and no path", f"{status} {answer}")
            smuggling.check(seconds < LIMIT, f"{name}: soon", f"{seconds:.1f} s")
        smuggling.check(len(found) == 2, f"{name}: every request is answered", len(found))


def main():
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        attack(options.program, folder, "regex", "steps", "a" * 2000, pre_tokenizer=REGEX)
        attack(options.program, folder, "loops", "steps", "Q", LOOPS)
        attack(options.program, folder, "search", "steps", "a" * 120_000, SEARCH)
        attack(options.program, folder, "failing template", "chat template", "Q", "{{ 1 + messages }}", statuses=(400, 500))
    return 1 if smuggling.failures else 0


if __name__ == "__main__":
    sys.exit(main())
