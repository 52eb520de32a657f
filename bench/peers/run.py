#!/usr/bin/env python3
"""Compares Inkstone with llama.cpp in one run: prefill, decode, resident memory, start time, beside the machine's read limit.

Usage: bench/peers/run.sh [--types Q8_0,Q4_K_M] [-p 512] [-n 32] [--rounds 3] [--threads 2] [--shape qwen3-4b]

The model has random weights and the true shape. Programs take turns (A B A B ...), each in a process of its own, and the table shows
medians, since shared machines drift. Nothing else should run meanwhile.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INKSTONE = ROOT / "build/release/bin/inkstone"
OUT = ROOT / "bench/out"


def call(*args):
    return subprocess.run([str(a) for a in args], check=True, capture_output=True, text=True).stdout


def prepare(shape, kind):
    """The model's file in `kind`: ours where Inkstone writes the type, else quantized by llama.cpp."""
    source, target = OUT / f"{shape}-hf", OUT / f"{shape}-{kind}.gguf"
    if target.exists():
        return target
    OUT.mkdir(parents=True, exist_ok=True)
    if not source.exists():
        print(f"writing {source.name}", file=sys.stderr)
        call(INKSTONE, "synth", "--shape", shape, "--out", source)
    print(f"writing {target.name}", file=sys.stderr)
    if kind in ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
        call(INKSTONE, "compress", source, "-o", target, "--type", kind)
    else:
        call(sys.executable, HERE / "llama_bench.py", prepare(shape, "F16"), "--quantize", kind, target)
    return target


def measure(model, o):
    common = ["-p", o.p, "-n", o.n, "--depth", o.depth, "--repeat", 1, "--threads", o.threads]
    runs = {"inkstone": [], "llama.cpp": []}
    for _ in range(o.rounds):
        runs["inkstone"].append(json.loads(call(INKSTONE, "bench", model, *common, "--json")))
        runs["llama.cpp"].append(json.loads(call(sys.executable, HERE / "llama_bench.py", model, *common)))
    return {name: {key: statistics.median(r[key] for r in rows) for key, value in rows[0].items() if isinstance(value, (int, float))}
            for name, rows in runs.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--types", default="Q8_0,Q4_K_M")
    parser.add_argument("--shape", default="qwen3-4b")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    o = parser.parse_args()
    print(f"{o.shape}, {o.threads} threads, prefill {o.p}, decode {o.n} at depth {o.depth}, medians of {o.rounds} alternating runs\n")
    print("| type | program | prefill t/s | decode t/s | resident GB | start ms | GB/s read | limit GB/s |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in o.types.split(","):
        model = prepare(o.shape, kind)
        result = measure(model, o)
        ours, theirs = result["inkstone"], result["llama.cpp"]
        theirs["read_gbs"] = ours["read_gbs"] / ours["decode_tps"] * theirs["decode_tps"]
        for name, r in result.items():
            limit = f"{ours['read_limit_gbs']:.1f}" if name == "inkstone" else ""
            print(f"| {kind} | {name} | {r['prefill_tps']:.1f} | {r['decode_tps']:.2f} | {r['rss_bytes'] / 1e9:.2f} | {r['load_ms']:.0f} | {r['read_gbs']:.1f} | {limit} |")
        ratio = {key: ours[key] / theirs[key] for key in ("prefill_tps", "decode_tps", "rss_bytes", "load_ms")}
        print(f"| {kind} | **ratio** | {ratio['prefill_tps']:.2f} | {ratio['decode_tps']:.2f} | {ratio['rss_bytes']:.2f} | {ratio['load_ms']:.2f} | | |", flush=True)


if __name__ == "__main__":
    main()
