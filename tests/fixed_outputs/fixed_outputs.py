#!/usr/bin/env python3
"""Holds what the program writes against what it wrote before, byte for byte: files, logits, texts, figures.

  fixed_outputs.py            compares with fixed_outputs.json
  fixed_outputs.py --record   writes that file anew: a change of kernels or of compression says so in its message

Environment: INKSTONE names the program. Targets that the CPU lacks are left out.
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "tests/data/tiny-qwen3"
TEXTS = ROOT / "src/compress/calibration"
KEPT = pathlib.Path(__file__).with_name("fixed_outputs.json")
TARGETS = ("ref", "avx2", "avx512vnni")
TYPES = ("F16", "Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_XS", "Q5_0")
TOKENS = ",".join(str(1 + 7 * i % 250) for i in range(40))


def run(*args):
    done = subprocess.run([os.environ["INKSTONE"], *map(str, args)], capture_output=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"inkstone {' '.join(map(str, args))}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def has_target(target):
    asked = [os.environ["INKSTONE"], "logits", MODEL, "--tokens", "1", "--cpu", target]
    return subprocess.run(asked, capture_output=True, timeout=60).returncode == 0


def outputs_of_target(target, files):
    common = ("--cpu", target)
    for name, file in files.items():
        for phase in ((), ("--decode",)):
            key = f"{target}: {name} logits {' '.join(phase)}".strip()
            yield key, digest(run("logits", file, "--tokens", TOKENS, "--all", "--json", *phase, *common))
    for name in ("F16", "Q4_K_M"):
        for label, draw in (("greedy", ("--temp", "0")), ("seeded", ("--temp", "0.8", "--seed", "7"))):
            ask = ("run", files[name], "-p", "Once upon a time", "-n", 48, *draw, *common)
            one, two = (digest(run(*ask, "--threads", threads)) for threads in (1, 2))
            yield f"{target}: {name} {label}", one if one == two else f"{one} with one thread, {two} with two"
    evaluated = run("eval", files["Q4_0"], "--reference", files["F16"], "--text", TEXTS / "english_manual.txt",
                    "--windows", 2, "--context", 128, "--json", *common)
    yield f"{target}: eval", digest(json.dumps(figures(json.loads(evaluated)), sort_keys=True).encode())


def figures(value):
    """What of a report is neither a path nor a time."""
    if isinstance(value, dict):
        return {k: figures(v) for k, v in value.items() if isinstance(v, (dict, list, int, float)) and "second" not in k and "_ms" not in k}
    return [figures(v) for v in value] if isinstance(value, list) else value


def outputs():
    with tempfile.TemporaryDirectory() as folder:
        files = {name: pathlib.Path(folder) / f"{name}.gguf" for name in TYPES}
        for name, file in files.items():
            run("compress", MODEL, "--type", name, "-o", file, "--cpu", "avx2")
            yield f"compress {name}", digest(file.read_bytes())
        for target in filter(has_target, TARGETS):
            yield from outputs_of_target(target, files)


def main():
    found = dict(outputs())
    if "--record" in sys.argv[1:]:
        KEPT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        return 0
    kept = json.loads(KEPT.read_text())
    wrong = [f"{key}: expected {kept.get(key, 'nothing')}, found {value}" for key, value in found.items() if kept.get(key) != value]
    print("\n".join(wrong) if wrong else f"{len(found)} outputs are what they were")
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main())
