#!/bin/sh
# Runs the OpenAI clients of Python and Node. INKSTONE_URL names a running server; without it, the program
# FAKE_SERVER (bin/fake_server of the build) is started on a free port. VENV and node_modules are made when missing.
set -eu
cd "$(dirname "$0")"
venv="${VENV:-.venv}"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import openai' 2>/dev/null || "$venv/bin/pip" install --quiet -r requirements.txt
[ -d node_modules/openai ] || npm install --no-audit --no-fund --silent

if [ -z "${INKSTONE_URL:-}" ]; then
  url_file="$(mktemp)"
  "${FAKE_SERVER:?name a server with INKSTONE_URL, or the program with FAKE_SERVER}" >"$url_file" 2>/dev/null &
  server=$!
  trap 'kill "$server" 2>/dev/null || true; rm -f "$url_file"' EXIT
  for _ in $(seq 100); do
    [ -s "$url_file" ] && break
    sleep 0.1
  done
  INKSTONE_URL="$(cat "$url_file")"
  INKSTONE_FAKE=1
  export INKSTONE_FAKE
fi
export INKSTONE_URL
timeout 300 "$venv/bin/python" -m unittest -v test_openai_python
timeout 300 node --test
