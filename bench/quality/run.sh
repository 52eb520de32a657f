#!/usr/bin/env bash
# Builds Inkstone, fetches llama.cpp's prebuilt library from npm, and compares what both make of a model at equal size. Options:
# bench/quality/run.sh --help
set -euo pipefail
cd "$(dirname "$0")/../.."
case " $* " in *" --help "* | *" -h "*) exec python3 bench/quality/run.py --help ;; esac
tools/install_dependencies.sh run
tools/build_web.sh
cmake --preset release >/dev/null
cmake --build --preset release --target inkstone -- --quiet
LLAMA_CPP=$(tools/fetch_llama_cpp.sh)
export LLAMA_CPP
venv=bench/out/venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import gguf, numpy, llama_cpp_py_sync' 2>/dev/null || "$venv/bin/pip" install --quiet gguf numpy llama-cpp-py-sync==0.11739
exec "$venv/bin/python" bench/quality/run.py "$@"
