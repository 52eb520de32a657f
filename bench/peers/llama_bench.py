#!/usr/bin/env python3
"""Measures llama.cpp as `inkstone bench` measures Inkstone, and prints the same JSON. Or quantizes: --quantize TYPE OUT.

Usage: llama_bench.py MODEL [-p 512] [-n 32] [--depth 0] [--repeat 3] [--threads 2] [--cpu avx2] [--kv q8_0]
"""
import argparse
import json
import os
import statistics
import time

# llama.cpp's kernels with the instructions of Inkstone's target: haswell has AVX2, icelake AVX512-VNNI without AMX.
GENERATIONS = {"avx2": "haswell", "avx512vnni": "icelake"}


def resident_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", choices=GENERATIONS)
    parser.add_argument("--kv", choices=["f16", "q8_0"], default="f16")
    parser.add_argument("--quantize", nargs=2, metavar=("TYPE", "OUT"))
    o = parser.parse_args()
    if o.cpu:
        os.environ["LLAMA_CPP_CPU"] = GENERATIONS[o.cpu]
    from llama_cpp import Llama, lib, quantize
    if o.quantize:
        quantize(o.model, o.quantize[1], o.quantize[0])
        return

    before = resident_bytes()  # of Python itself, not counted
    start = time.perf_counter()
    llama = Llama(o.model, context=o.depth + max(o.p, o.n + 1), threads=o.threads, exact=False, kv=o.kv)
    load_ms = (time.perf_counter() - start) * 1000
    memory = lib.llama_get_memory(llama.context)
    state = 1

    def tokens(count):
        nonlocal state
        out = []
        for _ in range(count):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            out.append((state >> 33) % llama.vocab_size)
        return out

    def feed(ids, position):
        for begin in range(0, len(ids), 512):
            llama.decode(ids[begin:begin + 512], position + begin, False)
        lib.llama_synchronize(llama.context)

    def timed(ids, one_by_one):
        lib.llama_memory_seq_rm(memory, 0, o.depth, -1)
        begin = time.perf_counter()
        if one_by_one:
            for i, token in enumerate(ids):
                feed([token], o.depth + i)
        else:
            feed(ids, o.depth)
        return len(ids) / (time.perf_counter() - begin)

    feed(tokens(o.depth), 0)
    timed(tokens(1), True)
    runs = [(timed(tokens(o.p), False), timed(tokens(o.n), True)) for _ in range(o.repeat)]
    print(json.dumps({"prefill_tps": statistics.median(r[0] for r in runs), "decode_tps": statistics.median(r[1] for r in runs),
                      "rss_bytes": resident_bytes() - before, "load_ms": load_ms}))


if __name__ == "__main__":
    main()
