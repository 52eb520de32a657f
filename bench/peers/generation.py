"""Measures a program that only generates from a prompt: no prompt without a token generated, and none at depth by itself.

So prefill at depth is the time to the first token of a prompt of depth + p tokens less that of depth tokens, and decode follows a prompt of
depth tokens, or of one. Each prompt is random, so that no cache of prompts can help.
"""
import argparse
import json
import re
import sys
import time


class Peer:
    compiles = False  # whether it generates code when it first sees a prompt's length; a prompt that does not count comes first then

    def generate(self, prompt, count):
        """(seconds to the first token, seconds for the count - 1 after it) with `prompt` random tokens."""
        raise NotImplementedError


def resident_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def parse_options(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=1, choices=[1])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", choices=["avx2", "avx512vnni"])
    parser.add_argument("--kv", choices=["f16", "q8_0"], default="f16")
    return parser.parse_args()


def in_one_line(error):
    """An error's words without the places in sources, and without the stack, whose lines begin with a number."""
    words = re.split(r"\n\s*\d+: ", str(error))[0]
    return " ".join(re.sub(r" at /\S+", ":", words).split())


def report(load, o):
    """Prints the same keys as `inkstone bench --json`, or ends with the program's error. `load()` opens the model and returns a Peer."""
    try:
        print(json.dumps(measure(load, o)))
    except Exception as error:
        sys.exit(in_one_line(error))


def measure(load, o):
    before = resident_bytes()  # of Python itself, not counted
    start = time.perf_counter()
    peer = load()
    load_ms = (time.perf_counter() - start) * 1000
    lengths = [max(o.depth, 1), o.depth + o.p]
    for length in lengths if peer.compiles else [1]:
        peer.generate(length, 2)
    at_depth, decode = peer.generate(lengths[0], o.n + 1)
    prefill = peer.generate(lengths[1], 1)[0] - (at_depth if o.depth else 0)
    if prefill <= 0 or decode <= 0:
        raise RuntimeError("too short to be measured; ask for more tokens")
    return {"prefill_tps": o.p / prefill, "decode_tps": o.n / decode, "rss_bytes": resident_bytes() - before, "load_ms": load_ms}
