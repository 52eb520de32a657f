#!/usr/bin/env bash
# One command to a chat: installs what is missing, builds, and serves a model with its page.
#   ./run.sh [OPTIONS...]            a small real model, SmolLM2-135M-Instruct
#   ./run.sh MODEL [OPTIONS...]      a GGUF file or a Hugging Face folder; options as in 'inkstone serve --help'
set -euo pipefail
cd "$(dirname "$0")"
case "${1:-}" in -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

tools/install_dependencies.sh run
tools/build_web.sh
echo "Building inkstone (a few minutes the first time)" >&2
cmake --preset release >/dev/null
quiet=--quiet
[ ! -t 1 ] || quiet=""  # a terminal gets Ninja's progress line
# shellcheck disable=SC2086
cmake --build --preset release --target inkstone -- $quiet
case "${1:-}" in
  "" | -*) model=$(tools/fetch_smollm2.sh) ;;
  *) model=$1; shift ;;
esac
exec build/release/bin/inkstone serve "$model" "$@"
