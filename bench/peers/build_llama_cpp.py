#!/usr/bin/env python3
"""Builds llama.cpp with pip from the source package llama-cpp-python, for one instruction set, and prints the folder.

Usage: build_llama_cpp.py [native|avx2|avx512vnni]

The folder, bench/out/llama.cpp-NAME, can be put on Python's path: it has the package llama_cpp with its shared libraries. A build
that exists is kept until the version or the options here change. CMAKE_BUILD_PARALLEL_LEVEL=1 leaves other cores alone.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

from progress import Progress

OUT = pathlib.Path(__file__).resolve().parents[1] / "out"
PACKAGE = "llama-cpp-python==0.3.36"  # the newest in November 2026; raise it for a newer llama.cpp
COMMON = ["-DLLAVA_BUILD=OFF", "-DLLAMA_OPENSSL=OFF"]
AVX2 = ["-DGGML_NATIVE=OFF", *(f"-DGGML_{name}=ON" for name in ("SSE42", "AVX", "AVX2", "FMA", "F16C", "BMI2"))]
OPTIONS = {  # what is not named is off: AVX512, AMX, and VNNI in 256 bits
    "native": ["-DGGML_NATIVE=ON"],
    "avx2": AVX2,
    "avx512vnni": [*AVX2, *(f"-DGGML_{name}=ON" for name in ("AVX512", "AVX512_VNNI"))],
}
IF_PRESENT = {"avx512vbmi": "-DGGML_AVX512_VBMI=ON", "avx512_bf16": "-DGGML_AVX512_BF16=ON"}  # with avx512vnni, on a CPU that has them
STEP = re.compile(r"\[(\d+)/(\d+)\]")


def cpu_flags():
    with open("/proc/cpuinfo") as info:
        return set(next((line for line in info if line.startswith("flags")), "").split())


def name_for(cpu):
    """Which build measures llama.cpp confined to `cpu` (None: at its best). Where there is no AMX, the native one has none either."""
    if cpu == "avx512vnni" and "amx_tile" not in cpu_flags():
        return "native"
    return cpu or "native"


def options_of(name):
    more = [option for flag, option in IF_PRESENT.items() if name == "avx512vnni" and flag in cpu_flags()]
    return COMMON + OPTIONS[name] + more


def stamp(name):
    """What a build was made from; a native one is for this CPU only."""
    return "\n".join([PACKAGE, *options_of(name), *(sorted(cpu_flags()) if name == "native" else [])]) + "\n"


def build(name):
    """The folder of the build, made where it is missing or made from something else. Raises RuntimeError where that fails."""
    folder, log = OUT / f"llama.cpp-{name}", OUT / f"llama.cpp-{name}.log"
    marker = folder / "inkstone-build.txt"
    if marker.exists() and marker.read_text() == stamp(name):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    OUT.mkdir(parents=True, exist_ok=True)
    # pip's cache would hand a wheel with other options back, so it is left out.
    command = [sys.executable, "-m", "pip", "install", "-v", "--no-cache-dir", "--no-binary", "llama-cpp-python", "--target", str(folder), PACKAGE]
    environment = os.environ | {"CMAKE_ARGS": " ".join(options_of(name))}
    environment.pop("SOURCE_DATE_EPOCH", None)  # llama.cpp takes it for a wish not to build natively
    with log.open("w") as out, Progress(f"building llama.cpp ({name})") as progress:
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        for line in child.stdout:
            out.write(line)
            step = STEP.search(line)
            if step:
                progress.at(int(step[1]) / int(step[2]))
        if child.wait() != 0:
            out.flush()
            raise RuntimeError(f"llama.cpp could not be built from {PACKAGE}; the end of {log}:\n{log.read_text()[-1500:]}")
    marker.write_text(stamp(name))
    return folder


def main():
    name = sys.argv[1] if len(sys.argv) == 2 else "native"
    if len(sys.argv) > 2 or name not in OPTIONS:
        sys.exit(__doc__)
    try:
        print(build(name))
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
