#!/usr/bin/env python3
"""Compares Inkstone with other programs in one run: prefill, decode, resident memory, start, beside the read limit.

The model has random weights and the true shape. Programs take turns (A B C A B C ...), each in a process of its own, and the
table shows the least, the median and the most of them, since shared machines drift. Nothing else should run meanwhile.
"""
import argparse
import datetime
import functools
import json
import os
import pathlib
import statistics
import sys
import time

import ik_llama_cpp
import programs
from programs import INKSTONE, OUT, Failed, call
from progress import Progress, clock
from results import OURS, REPACKED, summarize, table_head, table_rows

PEERS = {  # as the table names them, and how to measure them; ik_llama.cpp comes with --ik-build
    "llama.cpp": ("llama.cpp", programs.llama_cpp),
    "openvino": ("OpenVINO", programs.openvino),
    "mistralrs": ("mistral.rs", programs.mistralrs),
}
IK = "ik_llama.cpp"


def tokenizer_options(shape):
    """Qwen's own tokenizer where the shape has its vocabulary: mistral.rs needs minutes to start with synth's, whose tokens are mostly unused."""
    if not shape.startswith("qwen") or shape.endswith("tiny"):
        return []
    try:
        return ["--tokenizer-from", call(programs.ROOT / "tools/fetch_qwen3_tokenizer.sh").strip()]
    except Failed as error:
        print(*error.args, "going on without Qwen's tokenizer", sep="\n", file=sys.stderr)
        return []


def prepare(shape, kind, cpu):
    """The model's file in `kind`: ours where Inkstone writes the type, else quantized by llama.cpp."""
    source, target = OUT / f"{shape}-hf", OUT / f"{shape}-{kind}.gguf"
    if target.exists():
        return target
    OUT.mkdir(parents=True, exist_ok=True)
    if not source.exists():
        with Progress(f"writing {source.name}"):
            call(INKSTONE, "synth", "--shape", shape, *tokenizer_options(shape), "--out", source)
    if kind in ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
        with Progress(f"writing {target.name}"):
            call(INKSTONE, "compress", source, "-o", target, "--type", kind)
        return target
    wide, part = prepare(shape, "F16", cpu), target.with_suffix(".part")
    programs.llama_bench(cpu)  # built before the progress below begins
    with Progress(f"writing {target.name}"):
        programs.quantize(wide, kind, part, cpu)
    part.rename(target)
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
    parser = argparse.ArgumentParser(prog="bench/peers/run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=",".join(PEERS), help="whom to compare with, and ik where --ik-build is given; default: %(default)s")
    parser.add_argument("--ik-build", type=pathlib.Path, metavar="DIR", help="a build of ik_llama.cpp that you made; without it ik_llama.cpp takes no part")
    parser.add_argument("--types", default="Q8_0,Q4_K_M", help="default: %(default)s")
    parser.add_argument("--shape", default="qwen3-4b", help="of `inkstone synth`; default: %(default)s")
    parser.add_argument("-p", type=int, default=512, help="prompt tokens; default: %(default)s")
    parser.add_argument("-n", type=int, default=32, help="tokens to generate; default: %(default)s")
    parser.add_argument("--depth", type=int, default=0, help="tokens that are in the cache before either")
    parser.add_argument("--kv", choices=["f16", "q8_0"], help="type of keys and values; default: f16 for all")
    parser.add_argument("--cpu", choices=["avx2", "avx512vnni"], help="instruction set for all; default: the best of each")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: %(default)s")
    parser.add_argument("--limit", type=int, default=1800, metavar="SECONDS", help="what one run of a peer may take; default: %(default)s")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything measured, for plot.py")
    o = parser.parse_args()
    o.peers = [name for name in o.peers.split(",") if name]
    unknown = [name for name in o.peers if name not in (*PEERS, "ik")]
    if unknown:
        parser.error(f"no peer is named {', '.join(unknown)}; there are {', '.join(PEERS)} and ik")
    if "ik" in o.peers and not o.ik_build:
        parser.error("ik takes part with --ik-build DIR, a build of ik_llama.cpp that you made")
    if o.ik_build and ik_llama_cpp.depth_problem(o):
        parser.error(ik_llama_cpp.depth_problem(o))
    return o


def choose_programs(o):
    """({program: how to measure it}, {program: version}); llama.cpp says its own version when it is measured."""
    measures = {OURS: programs.inkstone} | {PEERS[name][0]: PEERS[name][1] for name in o.peers if name in PEERS}
    versions = {"OpenVINO": programs.OPENVINO.split("==")[1], "mistral.rs": programs.MISTRALRS.split("==")[1]}
    if o.ik_build:
        folder = ik_llama_cpp.given_build(o.ik_build, o.cpu)
        measures[IK] = functools.partial(ik_llama_cpp.measure, folder, repack=False)
        measures[IK + REPACKED] = functools.partial(ik_llama_cpp.measure, folder, repack=True)
        versions[IK] = ik_llama_cpp.version(folder)
    return measures, {name: version for name, version in versions.items() if name in measures}


def make_ready(o):
    """Installs and builds what is missing before anything is measured. Returns {program: why that failed}."""
    steps = {"llama.cpp": lambda: programs.llama_bench(o.cpu), "openvino": lambda: programs.venv_python("venv-openvino", programs.OPENVINO),
             "mistralrs": lambda: programs.venv_python("venv-mistralrs", programs.MISTRALRS)}
    failed = {}
    for name in o.peers:
        try:
            steps.get(name, lambda: None)()
        except Failed as error:
            print(*error.args, sep="\n", file=sys.stderr)
            failed[PEERS[name][0]] = error.args[0]
    return failed


class Turns:
    """All that is still to be measured, and how long it will take: as long as each program took until now."""

    def __init__(self, kinds, names, rounds):
        self.left = [(kind, number, name) for kind in kinds for number in range(rounds) for name in names]
        self.rounds, self.took = rounds, {}

    def estimate(self):
        known = [seconds for runs in self.took.values() for seconds in runs]
        if not known:
            return ""
        usual = statistics.mean(known)
        left = sum(statistics.mean(self.took[name]) if name in self.took else usual for _, _, name in self.left)
        return f" (all: about {clock(left)} left)"

    def drop(self, kind, name):
        self.left = [turn for turn in self.left if turn[0] != kind or turn[2] != name]

    def measure(self, kind, number, name, run, model, o):
        what = f"{kind}, round {number + 1} of {self.rounds}, {name}{self.estimate()}"
        begin = time.monotonic()
        with Progress(what, self.took.get(name, [None])[-1]):
            result = run(model=model, o=o)
        self.took.setdefault(name, []).append(time.monotonic() - begin)
        self.left.remove((kind, number, name))
        return result


def measure(kind, model, measures, turns, o):
    """({program: [run, ...]}, {program: why it could not run}), the runs taken in turns. Inkstone may not fail."""
    runs, failed = {name: [] for name in measures}, {}
    for number in range(o.rounds):
        for name, run in measures.items():
            if name in failed:
                continue
            try:
                runs[name].append(turns.measure(kind, number, name, run, model, o))
            except Failed as error:
                if name == OURS:
                    raise
                print(f"{name} could not run {model.name}:", *error.args, sep="\n", file=sys.stderr)
                failed[name] = error.args[0]
                turns.drop(kind, name)
    for name in failed:
        del runs[name]
    return runs, failed


def compare(o):
    measures, versions = choose_programs(o)
    missing = make_ready(o)
    measures = {name: run for name, run in measures.items() if name not in missing}
    models = {kind: prepare(o.shape, kind, o.cpu) for kind in o.types.split(",")}
    report = {"date": datetime.date.today().isoformat(), "cpu": cpu_name(), "threads": o.threads, "shape": o.shape,
              "prompt": o.p, "generate": o.n, "depth": o.depth, "kv": o.kv or "f16", "instructions": o.cpu or "best",
              "rounds": o.rounds, "versions": versions, "types": {}}
    print(f"{report['date']}, {report['cpu']}, {o.threads} threads, instructions: {report['instructions']}. {o.shape}, prefill {o.p}, "
          f"decode {o.n} at depth {o.depth}, keys and values in {report['kv']}. {o.rounds} rounds, in each of which every program ran once.")
    if o.ik_build:
        print("`rtr`: ik_llama.cpp with run-time repacking, where that is better than without.")
    print("\n" + table_head(o.p), flush=True)
    turns = Turns(models, measures, o.rounds)
    for kind, model in models.items():
        runs, failed = measure(kind, model, measures, turns, o)
        failed = missing | failed
        versions |= {name: run[-1]["version"] for name, run in runs.items() if "version" in run[-1]}
        flop = flop_per_prompt_token(model)
        result = summarize(runs, flop)
        print(*table_rows(kind, result, versions, failed), sep="\n", flush=True)
        report["types"][kind] = {"flop_per_prompt_token": flop, **result, "failed": failed, "runs": runs}
        if o.json:
            o.json.write_text(json.dumps(report, indent=1) + "\n")


def main():
    try:
        compare(parse_options())
    except Failed as error:
        sys.exit("\n".join(error.args))


if __name__ == "__main__":
    main()
