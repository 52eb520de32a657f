"""How each program is run: one process, one dict with prefill_tps, decode_tps, rss_bytes and load_ms, or Failed with the reason."""
import functools
import json
import os
import pathlib
import re
import subprocess
import sys

import build_llama_cpp
from progress import Progress

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INKSTONE = pathlib.Path(os.environ.get("INKSTONE") or ROOT / "build/release/bin/inkstone")
OUT = ROOT / "bench/out"
OPENVINO = "openvino-genai==2026.4.1.0"
MISTRALRS = "mistralrs==0.9.5"
PREBUILT_BINDINGS = "llama-cpp-py-sync==0.11739"


class Failed(Exception):
    """What a program, or installing it, had to say; the first argument is one line."""


def one_line(text):
    """The last line that has something, without colours."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "no message")[:300]


def ending(returncode):
    return f"exit status {returncode}" if returncode >= 0 else f"ended by signal {-returncode}"


def call(*args, limit=None):
    """Runs a program and returns its standard output; `limit`: seconds that it may take."""
    try:
        done = subprocess.run([str(a) for a in args], capture_output=True, text=True, errors="replace", timeout=limit)
    except subprocess.TimeoutExpired:
        raise Failed(f"took longer than {limit} s (--limit)") from None
    if done.returncode != 0:
        words = done.stdout + done.stderr
        raise Failed(f"{ending(done.returncode)}: {one_line(done.stderr or done.stdout)}", f"{' '.join(str(a) for a in args)}\n{words[-2000:]}")
    return done.stdout


def measured(o, *command):
    """The report of a measuring program: the last line of its standard output. What some print before it is their log."""
    kv = ["--kv", o.kv] if o.kv else []
    return json.loads(call(*command, *common_options(o), *kv, limit=o.limit).strip().splitlines()[-1])


@functools.cache
def venv_python(name, *packages):
    """The interpreter of the environment bench/out/NAME with these packages, installed where they are missing."""
    python, marker = OUT / name / "bin/python", OUT / name / "inkstone-packages.txt"
    if not (marker.exists() and marker.read_text().split() == list(packages)):
        with Progress(f"installing {' '.join(packages)}"):
            call(sys.executable, "-m", "venv", "--clear", OUT / name)
            call(python, "-m", "pip", "install", "--quiet", *packages)
        marker.write_text("\n".join(packages) + "\n")
    return python


def common_options(o):
    """What `inkstone bench` and the measuring programs here understand alike."""
    options = ["-p", o.p, "-n", o.n, "--depth", o.depth, "--repeat", 1, "--threads", o.threads]
    return options + (["--cpu", o.cpu] if o.cpu else [])


def inkstone(model, o):
    """Beside the measurements: read_gbs, read_limit_gbs, target, and arithmetic_limit_tflops where Inkstone reports it."""
    kv = ["--kv-type", o.kv or "f16"]  # what the others have unless told otherwise
    return json.loads(call(INKSTONE, "bench", model, *common_options(o), *kv, "--json"))


@functools.cache
def llama_bench(cpu):
    """(the command that runs llama.cpp, which library it runs): built here, or prebuilt where that fails."""
    name = build_llama_cpp.name_for(cpu)
    try:
        return [sys.executable, HERE / "llama_bench.py", "--build", build_llama_cpp.build(name)], f"{build_llama_cpp.PACKAGE.replace('==', ' ')}, {name}"
    except RuntimeError as error:
        print(f"{error}\ntaking llama.cpp's prebuilt library instead", file=sys.stderr)
    with Progress("fetching llama.cpp's prebuilt library"):
        os.environ["LLAMA_CPP"] = call(ROOT / "tools/fetch_llama_cpp.sh").strip()
    return [venv_python("venv-prebuilt", "numpy", PREBUILT_BINDINGS), HERE / "llama_bench.py"], "prebuilt, from npm"


def llama_cpp(model, o):
    command, library = llama_bench(o.cpu)
    report = measured(o, *command, model)
    return report | {"version": f"{report['version']} ({library})"}


def quantize(source, kind, target, cpu):
    call(*llama_bench(cpu)[0], source, "--quantize", kind, target)


def openvino(model, o):
    return measured(o, venv_python("venv-openvino", OPENVINO), HERE / "openvino_bench.py", model)


def mistralrs(model, o):
    return measured(o, venv_python("venv-mistralrs", MISTRALRS), HERE / "mistralrs_bench.py", model)
