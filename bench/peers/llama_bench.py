#!/usr/bin/env python3
"""Measures llama.cpp as `inkstone bench` measures Inkstone, and prints the same JSON. Or quantizes: --quantize TYPE OUT.

Usage: llama_bench.py MODEL --build bench/out/llama.cpp-native [-p 512] [-n 32] [--depth 0] [--repeat 3] [--threads 2] [--kv q8_0]

Without --build the prebuilt library that LLAMA_CPP names is measured, where --cpu chooses among its kernels.
"""
import argparse
import json
import os
import statistics
import time

# llama.cpp's prebuilt kernels with the instructions of Inkstone's target: haswell has AVX2, icelake AVX512-VNNI without AMX.
GENERATIONS = {"avx2": "haswell", "avx512vnni": "icelake"}


def resident_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--build", metavar="DIR", help="a folder of build_llama_cpp.py")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", choices=GENERATIONS)
    parser.add_argument("--kv", choices=["f16", "q8_0"], default="f16")
    parser.add_argument("--quantize", nargs=2, metavar=("TYPE", "OUT"))
    parser.add_argument("--verbose", action="store_true", help="llama.cpp's own log (with --build)")
    return parser.parse_args()


def load(o):
    """(the functions of llama.cpp's API, the class Llama, quantize, llama.cpp's version)"""
    if o.build:
        import llama_cpp_python as bindings
        bindings.load(o.build, o.verbose)
        return bindings.lib, bindings.Llama, bindings.quantize, bindings.version()
    if o.cpu:
        os.environ["LLAMA_CPP_CPU"] = GENERATIONS[o.cpu]
    import llama_cpp as prebuilt

    class Llama(prebuilt.Llama):
        def __init__(self, path, context, threads, kv):
            super().__init__(path, context, threads, exact=False, kv=kv)

        def decode(self, tokens, position):
            super().decode(tokens, position, False)

    return prebuilt.lib, Llama, lambda source, target, kind: prebuilt.quantize(source, target, kind), prebuilt.VERSION.removeprefix("v")


def main():
    o = parse_options()
    lib, Llama, quantize, version = load(o)
    if o.quantize:
        quantize(o.model, o.quantize[1], o.quantize[0])
        return

    before = resident_bytes()  # of Python itself, not counted
    start = time.perf_counter()
    llama = Llama(o.model, context=o.depth + max(o.p, o.n + 1), threads=o.threads, kv=o.kv)
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
            llama.decode(ids[begin:begin + 512], position + begin)
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
                      "rss_bytes": resident_bytes() - before, "load_ms": load_ms, "version": version}))


if __name__ == "__main__":
    main()
