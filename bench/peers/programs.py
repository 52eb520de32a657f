"""How each program is measured: one process, one dict with prefill_tps, decode_tps, rss_bytes and load_ms."""
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INKSTONE = ROOT / "build/release/bin/inkstone"
OUT = ROOT / "bench/out"


def call(*args):
    """Runs a program and returns its standard output; a failure ends the comparison with the program's own words."""
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(a) for a in args)}: exit status {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def common_options(o):
    """What `inkstone bench` and llama_bench.py understand alike."""
    options = ["-p", o.p, "-n", o.n, "--depth", o.depth, "--repeat", 1, "--threads", o.threads]
    return options + (["--cpu", o.cpu] if o.cpu else [])


def inkstone(model, o):
    """Beside the measurements: read_gbs, read_limit_gbs, target, and arithmetic_limit_tflops where Inkstone reports it."""
    kv = ["--kv-type", o.kv or "f16"]  # what the others have unless told otherwise
    return json.loads(call(INKSTONE, "bench", model, *common_options(o), *kv, "--json"))


def llama_cpp(model, o):
    kv = ["--kv", o.kv] if o.kv else []
    return json.loads(call(sys.executable, HERE / "llama_bench.py", model, *common_options(o), *kv))


def llama_cpp_version():
    """From the name of the library, such as libllama.v0.5.0.so."""
    library = next(pathlib.Path(os.environ["LLAMA_CPP"]).glob("libllama.v*.so"))
    return library.name[len("libllama."):-len(".so")]
