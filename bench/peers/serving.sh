#!/usr/bin/env bash
# Builds Inkstone, fetches llama.cpp's server (PyPI package xllamacpp), and puts the same load on both. Options: bench/peers/serving.sh --help
set -euo pipefail
cd "$(dirname "$0")/../.."
case " $* " in *" --help "* | *" -h "*) exec python3 bench/peers/serving.py --help ;; esac
tools/install_dependencies.sh run
tools/build_web.sh
cmake --preset release >/dev/null
cmake --build --preset release --target inkstone -- --quiet
model=()
case " $* " in *" --model"*) ;; *) model=(--model "$(tools/fetch_smollm2.sh)") ;; esac
venv=bench/out/venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
case " $* " in *" --llama-server"*) ;; *)
  "$venv/bin/python" -c 'import importlib.metadata as m; m.version("xllamacpp")' 2>/dev/null || "$venv/bin/pip" install --quiet xllamacpp==2026.10.11549 ;;
esac
exec "$venv/bin/python" bench/peers/serving.py "${model[@]}" "$@"
