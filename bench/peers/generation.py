"""Measures a program that only generates from a prompt: no prompt without a token generated, and none at depth by itself.

So prefill at depth is the time to the first token of a prompt of depth + p tokens less that of depth tokens, and decode follows a prompt of
depth tokens, or of one. Each prompt is random, so that no cache of prompts can help.
"""
import argparse
import time


class Peer:
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


def measure(load, o, before):
    """`before`: resident bytes that do not count. The same keys as `inkstone bench --json`."""
    start = time.perf_counter()
    peer = load()
    load_ms = (time.perf_counter() - start) * 1000
    peer.generate(o.p, 2)  # code for these shapes is generated when they are first seen
    at_depth, decode = peer.generate(max(o.depth, 1), o.n + 1)
    first, _ = peer.generate(o.depth + o.p, 1)
    return {"prefill_tps": o.p / (first - at_depth if o.depth else first), "decode_tps": o.n / decode,
            "rss_bytes": resident_bytes() - before, "load_ms": load_ms}
