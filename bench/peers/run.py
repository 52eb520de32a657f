#!/usr/bin/env python3
"""Compares Inkstone with llama.cpp and ik_llama.cpp in one run: prefill, decode, resident memory, start, beside the read limit.

The model has random weights and the true shape. Programs take turns (A B C A B C ...), each in a process of its own, and the
table shows medians, since shared machines drift. Nothing else should run meanwhile.
"""
import argparse
import datetime
import functools
import json
import os
import pathlib
import sys

import ik_llama_cpp
import programs
from programs import HERE, INKSTONE, OUT, call
from results import OURS, REPACKED, summarize, table_head, table_rows


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


def flop_per_prompt_token(model):
    """Two for each weight of the layers' matrices. The embedding is looked up, the output matrix is for the last token."""
    tensors = json.loads(call(INKSTONE, "inspect", model, "--json", "--tensors"))["tensors"]
    matrices = [t["shape"] for t in tensors if len(t["shape"]) == 2 and t["name"] not in ("token_embd.weight", "output.weight")]
    return 2 * sum(rows * columns for rows, columns in matrices)


def cpu_name():
    with open("/proc/cpuinfo") as info:
        return next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown CPU")


def parse_options():
    parser = argparse.ArgumentParser(prog="bench/peers/run.sh", description=__doc__)
    parser.add_argument("--types", default="Q8_0,Q4_K_M", help="default: %(default)s")
    parser.add_argument("--shape", default="qwen3-4b", help="of `inkstone synth`; default: %(default)s")
    parser.add_argument("-p", type=int, default=512, help="prompt tokens; default: %(default)s")
    parser.add_argument("-n", type=int, default=32, help="tokens to generate; default: %(default)s")
    parser.add_argument("--depth", type=int, default=0, help="tokens that are in the cache before either")
    parser.add_argument("--kv", choices=["f16", "q8_0"], help="type of keys and values; default: every program's own, f16")
    parser.add_argument("--cpu", choices=["avx2", "avx512vnni"], help="instruction set for all; default: the best of each")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: %(default)s")
    parser.add_argument("--no-ik", action="store_true", help="leave ik_llama.cpp out")
    parser.add_argument("--ik-source", type=pathlib.Path, metavar="DIR", help="ik_llama.cpp's source; default: cloned")
    parser.add_argument("--ik-build", type=pathlib.Path, metavar="DIR", help="a finished build of it")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything measured, for plot.py")
    o = parser.parse_args()
    if not o.no_ik and ik_llama_cpp.depth_problem(o):
        parser.error(ik_llama_cpp.depth_problem(o))
    return o


def choose_programs(o):
    """({program: how to measure it}, {program: version})"""
    measures = {OURS: programs.inkstone, "llama.cpp": programs.llama_cpp}
    versions = {"llama.cpp": programs.llama_cpp_version()}
    if not o.no_ik:
        folder = ik_llama_cpp.given_build(o.ik_build, o.cpu) if o.ik_build else ik_llama_cpp.build(o.ik_source, o.cpu)
        name = "ik_llama.cpp"
        measures[name] = functools.partial(ik_llama_cpp.measure, folder, repack=False)
        measures[name + REPACKED] = functools.partial(ik_llama_cpp.measure, folder, repack=True)
        versions[name] = ik_llama_cpp.version(folder)
    return measures, versions


def measure(model, measures, o):
    """{program: [run, ...]}, taken in turns."""
    runs = {name: [] for name in measures}
    for _ in range(o.rounds):
        for name, run in measures.items():
            runs[name].append(run(model=model, o=o))
    return runs


def main():
    o = parse_options()
    measures, versions = choose_programs(o)
    models = {kind: prepare(o.shape, kind) for kind in o.types.split(",")}
    report = {"date": datetime.date.today().isoformat(), "cpu": cpu_name(), "threads": o.threads, "shape": o.shape,
              "prompt": o.p, "generate": o.n, "depth": o.depth, "kv": o.kv or "f16", "instructions": o.cpu or "best",
              "rounds": o.rounds, "versions": versions, "types": {}}
    print(f"{report['date']}, {report['cpu']}, {o.threads} threads, instructions: {report['instructions']}. {o.shape}, prefill {o.p}, "
          f"decode {o.n} at depth {o.depth}, keys and values in {report['kv']}. Medians of {o.rounds} alternating runs.")
    if not o.no_ik:
        print("`rtr`: ik_llama.cpp with run-time repacking, where that is better than without.")
    print("\n" + table_head(o.p), flush=True)
    for kind, model in models.items():
        runs = measure(model, measures, o)
        flop = flop_per_prompt_token(model)
        result = summarize(runs, flop)
        print(*table_rows(kind, result, versions), sep="\n", flush=True)
        report["types"][kind] = {"flop_per_prompt_token": flop, **result, "runs": runs}
        if o.json:
            o.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
