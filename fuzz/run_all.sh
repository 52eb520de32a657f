#!/usr/bin/env bash
# Runs every fuzzer of build/fuzz for SECONDS each, from its seeds and from what earlier runs found. Usage: fuzz/run_all.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}
for program in build/fuzz/bin/*_fuzzer; do
  name=$(basename "$program" _fuzzer)
  corpus=build/fuzz/corpus/$name
  mkdir -p "$corpus"
  seeds=()
  [ -d "fuzz/seeds/$name" ] && seeds=("fuzz/seeds/$name")
  log=build/fuzz/$name.log
  if ! "$program" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -max_len=8192 -print_final_stats=1 \
      -artifact_prefix="build/fuzz/$name-" "$corpus" "${seeds[@]}" >"$log" 2>&1; then
    tail -n 40 "$log"
    echo "$name: found a failure; the input lies beside build/fuzz/$name.log" >&2
    exit 1
  fi
  echo "$name: $(grep -o 'number_of_executed_units: [0-9]*' "$log" | grep -o '[0-9]*') runs in $seconds s, nothing found"
done
