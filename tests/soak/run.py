#!/usr/bin/env python3
"""Puts `inkstone serve` through what servers go through. Python's standard library is enough.

    tests/soak/run.py --scenario mixed --seconds 60 --model MODEL [--program build/release/bin/inkstone] [--short]

Each scenario starts servers of its own, and at its end checks that a known prompt is answered byte for byte as before the
load, that every request ended in an answer or a clear error, that memory is flat, that nothing stays open, running or in
use, and that SIGTERM ends the server well. Exit status 1 if a check failed; the figures are printed as JSON.
"""
import argparse
import importlib
import json
import pathlib
import signal
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness

SCENARIOS = ("slow_readers", "disconnects", "mixed", "mixed_disk", "pressure", "disk", "kill9", "smooth", "long_context", "cache_cost")
MOST_FAILURES = 8  # that are shown


def play(name, options):
    report = harness.Report(name)
    began = time.monotonic()
    try:
        importlib.import_module(name).run(options, report)
    except Exception:
        report.failures.append(traceback.format_exc())
    report.say(seconds=round(time.monotonic() - began, 1))
    print(f"{'FAILED' if report.failures else 'fine':6} {name}: {json.dumps(report.figures)}", flush=True)
    for failure in report.failures[:MOST_FAILURES]:
        print(f"  {failure}", flush=True)
    if len(report.failures) > MOST_FAILURES:
        print(f"  ... and {len(report.failures) - MOST_FAILURES} more", flush=True)
    return not report.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(harness.ROOT / "build/release/bin/inkstone"))
    parser.add_argument("--model", default=str(harness.ROOT / "tests/data/tiny-qwen3"))
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="may be given more than once; default: all")
    parser.add_argument("--seconds", type=float, default=20, help="of load in each scenario, about")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="fewer clients and rounds, for CI")
    parser.add_argument("--prompt-tokens", type=int, default=0, help="of long_context; default: 8192")
    arguments = parser.parse_args()
    options = harness.Options(arguments.program, arguments.model, arguments.seconds, arguments.seed, arguments.short, arguments.prompt_tokens)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server stays behind
    results = [play(name, options) for name in arguments.scenario or SCENARIOS]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
