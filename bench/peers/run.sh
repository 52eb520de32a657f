#!/usr/bin/env bash
# Builds Inkstone and compares it with other programs, which it builds and installs below bench/out/. Options: bench/peers/run.sh --help
# INKSTONE=FILE measures that program and builds none.
set -euo pipefail
cd "$(dirname "$0")/../.."
case " $* " in *" --help "* | *" -h "*) exec python3 bench/peers/run.py --help ;; esac
if [ -z "${INKSTONE:-}" ]; then
  tools/install_dependencies.sh run
  tools/build_web.sh
  cmake --preset release >/dev/null
  cmake --build --preset release --target inkstone -- --quiet
fi
venv=bench/out/venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
exec "$venv/bin/python" bench/peers/run.py "$@"
