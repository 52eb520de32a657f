"""ik_llama.cpp: the benchmarks of a build that the user made.

`llama-bench` measures from an empty cache. It has no prompt at depth, so with --depth `llama-sweep-bench` measures instead: it
fills the cache and then times both phases there.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time

from programs import Failed, ending, one_line

TARGETS = ["llama-bench", "llama-sweep-bench"]
AVX2 = ["-DGGML_NATIVE=OFF", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON", "-DGGML_AVX512=OFF"]
READY = b"graph splits"  # the log's last line about a new context


def setting(folder, name):
    """A setting of a build folder, from CMake's cache."""
    return re.search(rf"^{name}:\w+=(.*)$", (folder / "CMakeCache.txt").read_text(), re.M).group(1)


def given_build(folder, cpu):
    """The folder, if it has the benchmarks and is confined to the instructions of `cpu`."""
    missing = [target for target in TARGETS if not (folder / "bin" / target).exists()]
    if missing or not (folder / "CMakeCache.txt").exists():
        sys.exit(f"{folder}: not a build of ik_llama.cpp with the targets {' '.join(TARGETS)}")
    if cpu == "avx2" and (setting(folder, "GGML_NATIVE") == "ON" or setting(folder, "GGML_AVX512") == "ON"):
        sys.exit(f"{folder}: --cpu avx2 needs a build with {' '.join(AVX2)}")
    return folder.resolve()


def version(folder):
    """The commit of the source that a build folder was made from."""
    done = subprocess.run(["git", "-C", setting(folder, "CMAKE_HOME_DIRECTORY"), "rev-parse", "--short=7", "HEAD"],
                          capture_output=True, text=True)
    return done.stdout.strip() or "of unknown version"


def run(args):
    """(standard output, log, ms until the first context was ready, peak resident bytes) of one process."""
    command = [str(a) for a in args]
    log, ready = [], None
    with tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory() as folder:  # its log files go to the folder
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, cwd=folder)
        for line in child.stderr:
            if ready is None and READY in line:
                ready = (time.perf_counter() - start) * 1000
            log.append(line)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    log = b"".join(log).decode(errors="replace")
    if child.returncode != 0 or ready is None:
        raise Failed(f"{ending(child.returncode)}: {one_line(log)}", f"{' '.join(command)}: or no '{READY.decode()}' in its log\n{log[-2000:]}")
    return text, log, ready, usage.ru_maxrss * 1024


def from_empty_cache(folder, model, o, repack):
    """(prefill tokens/s, decode tokens/s, ms to start, peak resident bytes)"""
    text, _, ready, peak = run([folder / "bin/llama-bench", "-m", model, "-t", o.threads, "-p", o.p, "-n", o.n, "-r", 1,
                                "-rtr", int(repack), *kv_options(o), "-o", "json", "-v"])
    tests = [json.loads(test) for test in re.findall(r"\{[^{}]*\}", text)]  # warnings may stand between them
    prefill = next(t["avg_ts"] for t in tests if t["n_prompt"] > 0)
    decode = next(t["avg_ts"] for t in tests if t["n_gen"] > 0)
    return prefill, decode, ready, peak


def depth_problem(o):
    """Why the sweep cannot measure what `o` asks for, or None. It goes in steps of a prompt, and rounds the context up to 256."""
    if o.depth == 0 or (o.p % 256 == 0 and o.depth % o.p == 0 and o.n <= o.p):
        return None
    return "ik_llama.cpp needs a -p that is a multiple of 256, a --depth that is a multiple of -p, and -n up to -p (or leave --ik-build out)"


def at_depth(folder, model, o, repack):
    """The same with o.depth tokens in the cache."""
    text, log, ready, peak = run([folder / "bin/llama-sweep-bench", "-m", model, "-t", o.threads, "-c", o.depth + o.p,
                                  "-b", o.p, "-ub", o.p, "-n", o.n, "--sweep-stride", o.depth // o.p,
                                  *(["-rtr"] if repack else []), *kv_options(o), "--output-format", "jsonl"])
    rows = [json.loads(line) for line in (text + log).splitlines() if line.startswith("{")]
    row = next(r for r in rows if r["n_kv"] == o.depth)
    return row["speed_pp"], row["speed_tg"], ready, peak


def kv_options(o):
    return ["-ctk", o.kv, "-ctv", o.kv] if o.kv else []


def measure(folder, model, o, repack):
    """`repack`: with -rtr 1, which interleaves the weights while loading and gives up mapping the file for it."""
    prefill, decode, ready, peak = (at_depth if o.depth else from_empty_cache)(folder, model, o, repack)
    return {"prefill_tps": prefill, "decode_tps": decode, "rss_bytes": peak, "load_ms": ready}
