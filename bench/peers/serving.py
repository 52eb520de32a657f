#!/usr/bin/env python3
"""Puts the same load on Inkstone and on llama.cpp's server, in turns, and compares what their clients see.

Both serve the same file with as many slots as there are clients, the same threads and context, Inkstone with a profile, and the defaults otherwise. The load is
`inkstone bench --url`, whose requests are the same for both; it runs on the same machine and says how much of it it took. The
table shows medians of the rounds. Nothing else should run meanwhile.
"""
import argparse
import datetime
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

from programs import HERE, INKSTONE, Failed, call

START_SECONDS = 600
OURS, THEIRS = "inkstone", "llama.cpp"
COLUMNS = [  # name, path in the report, scale, format
    ("answers t/s", ("output_tokens_per_s",), 1, ".1f"),
    ("prompts t/s", ("prompt_tokens_per_s",), 1, ".1f"),
    ("first token p50 s", ("first_token_s", "p50"), 1, ".2f"),
    ("p95 s", ("first_token_s", "p95"), 1, ".2f"),
    ("between p50 ms", ("between_pieces_s", "p50"), 1e3, ".1f"),
    ("p99 ms", ("between_pieces_s", "p99"), 1e3, ".1f"),
    ("end to end p50 s", ("end_to_end_s", "p50"), 1, ".2f"),
    ("p99 s", ("end_to_end_s", "p99"), 1, ".2f"),
    ("peak GB", ("server_peak_bytes",), 1e-9, ".2f"),
]


def parse_options():
    parser = argparse.ArgumentParser(prog="bench/peers/serving.sh", description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="a GGUF file; default: SmolLM2-135M-Instruct, fetched")
    parser.add_argument("--clients", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--requests", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--prompt-tokens", default="64:2000", help="default: %(default)s")
    parser.add_argument("--lengths", choices=("uniform", "log-uniform"), default="uniform", help="how they are spread over a range; default: %(default)s")
    parser.add_argument("--max-tokens", default="128", help="default: %(default)s")
    parser.add_argument("--rate", type=float, help="open loop: requests per second instead of clients that wait; --clients are the slots")
    parser.add_argument("--rounds", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: %(default)s")
    parser.add_argument("--cpu", help="Inkstone's instruction set, such as avx2, which is what the fetched llama.cpp has; default: the best")
    parser.add_argument("--profile", default="multi", help="of Inkstone; default: %(default)s, which is for several users")
    parser.add_argument("--llama-server", type=pathlib.Path, metavar="FILE", help="a native build of llama-server instead of the fetched one")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything measured")
    return parser.parse_args()


def context_of(o):
    """Tokens that one conversation needs, with room for the chat template."""
    longest = sum(int(text.split(":")[-1]) for text in (o.prompt_tokens, o.max_tokens))
    return (longest + 256 + 255) // 256 * 256


def server_command(name, o, port):
    slots, context, threads = str(o.clients), context_of(o), str(o.threads)
    if name == OURS:
        cpu = ["--cpu", o.cpu] if o.cpu else []
        return [INKSTONE, "serve", o.model, "--port", port, "--profile", o.profile, "--sequences", slots, "--context", context, "--threads", threads, "--quiet", *cpu]
    if o.llama_server:
        return [o.llama_server, "-m", o.model, "--port", port, "-np", slots, "-c", context * o.clients, "-t", threads]
    return [sys.executable, HERE / "llama_server.py", o.model, "--port", port, "--parallel", slots, "--context", context, "--threads", threads]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(url, server, log):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            sys.exit(f"the server ended with status {server.returncode}:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url + "/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"the server is not ready after {START_SECONDS} s:\n{log.read_text()[-2000:]}")


def peak_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def measure(name, o):
    """One start of the server, one load: the load's report and the server's peak memory."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = HERE.parent / "out" / f"serving-{name}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as out:
        server = subprocess.Popen([str(a) for a in server_command(name, o, port)], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until_ready(url, server, log)
        shape = ["--rate", o.rate] if o.rate else ["--clients", o.clients]
        report = json.loads(call(INKSTONE, "bench", "--url", url, *shape, "--requests", o.requests, "--prompt-tokens", o.prompt_tokens,
                                 "--lengths", o.lengths, "--max-tokens", o.max_tokens, "--ignore-eos", "--json"))
        return report | {"server_peak_bytes": peak_bytes(server.pid)}
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def value(report, path):
    for key in path:
        report = report[key]
    return report


def table(runs):
    """runs: {program: [report, ...]}"""
    yield "| program | " + " | ".join(name for name, *_ in COLUMNS) + " | answered | failed |"
    yield "|---|" + "---|" * (len(COLUMNS) + 2)
    medians = {name: [statistics.median(value(r, path) for r in reports) for _, path, *_ in COLUMNS] for name, reports in runs.items()}
    for name, row in medians.items():
        cells = [format(number * scale, form) for number, (_, _, scale, form) in zip(row, COLUMNS)]
        counts = [str(sum(r["requests"][kind] for r in runs[name])) for kind in ("answered", "failed")]
        yield "| " + " | ".join([name, *cells, *counts]) + " |"
    ratios = [f"{ours / theirs:.2f}" if theirs else "" for ours, theirs in zip(medians[OURS], medians[THEIRS])]
    yield "| **ratio** | " + " | ".join(ratios) + " | | |"


def main():
    o = parse_options()
    runs = {OURS: [], THEIRS: []}
    for number in range(o.rounds):
        for name, reports in runs.items():
            print(f"round {number + 1} of {o.rounds}: {name}", file=sys.stderr, flush=True)
            reports.append(measure(name, o))
    first = runs[OURS][0]
    load = f"{o.rate} requests/s" if o.rate else f"{o.clients} clients"
    print(f"{datetime.date.today().isoformat()}, {o.model.name}, {load}, {o.requests} requests, {o.threads} threads, {context_of(o)} tokens for each "
          f"of {o.clients} slots, Inkstone on {o.cpu or 'its best instructions'}. {first['load']['workload']}. Medians of {o.rounds} rounds.\n")
    print(*table(runs), sep="\n")
    busiest = max(r["generator"]["cpu_s"] / r["duration_s"] for reports in runs.values() for r in reports)
    print(f"\nThe ratio is Inkstone over llama.cpp, column by column. The load itself took at most {100 * busiest:.1f} % of one core.")
    if o.json:
        o.json.write_text(json.dumps({"model": o.model.name, "threads": o.threads, "cpu": o.cpu or "best", "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit("\n".join(error.args))
