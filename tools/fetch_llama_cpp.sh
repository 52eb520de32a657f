#!/usr/bin/env bash
# Fetches llama.cpp's prebuilt libraries (npm package @node-llama-cpp/linux-x64) for comparisons and prints their folder.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder="$root/.cache/llama_cpp"
if [ ! -d "$folder" ]; then
  rm -rf "$folder.tmp" && mkdir -p "$folder.tmp"
  (cd "$folder.tmp" && npm pack --loglevel=error @node-llama-cpp/linux-x64@3.22.1 >/dev/null && tar xzf ./*.tgz && rm ./*.tgz)
  mv "$folder.tmp" "$folder"
fi
echo "$folder/package/bins/linux-x64"
