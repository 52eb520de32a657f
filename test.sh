#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests. Usage: ./test.sh [STAGE...]
#   checks   layers, file sizes, formatting
#   unit     unit and parity tests of the 'dev' preset: the quick loop
#   tidy     clang-tidy over what the last TIDY_COMMITS commits (default 10) changed, or everything with TIDY_COMMITS=all
#   web      the page: types, unit tests, build
#   e2e      the release program: command line, API clients, browser, llama.cpp, tokenizer and template parity
#   soak     the release program through slow readers, disconnects, mixed loads, failing disks and kills, in short
#   attack   the release program under attack: costly requests, smuggling, unfairness, races, hostile models
#   asan     unit and parity tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   tsan     the unit tests of the layers with threads under ThreadSanitizer
#   fuzz     each fuzzer for FUZZ_SECONDS (default 10)
# Without arguments: all of them but 'unit', whose tests are those of 'asan'.
set -euo pipefail
cd "$(dirname "$0")"
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$PWD  # one cache serves every checkout

title() { printf '\n=== %s  [%s s]\n' "$1" "$SECONDS"; }

stage_checks() {
  python3 tools/check_layers.py
  git ls-files 'src/*.h' 'src/*.cc' 'fuzz/*.cc' 'bench/*.cc' 'tests/*.cc' 'examples/*.cc' | xargs clang-format-14 --dry-run -Werror
  echo "formatting: fine"
}

# build_and_test PRESET TARGET
build_and_test() {
  cmake --preset "$1" >/dev/null
  cmake --build --preset "$1" --target "$2" -- --quiet
  ctest --preset "$1" -j "$(nproc)" --output-on-failure
}

stage_unit() { build_and_test dev all; }
stage_asan() { build_and_test asan-ubsan test_programs; }

# Only the layers that start threads.
stage_tsan() {
  local programs=(core_test kvcache_test engine_test compress_test loadgen_test server_test) program
  cmake --preset tsan >/dev/null
  cmake --build --preset tsan --target "${programs[@]}" -- --quiet
  # Of compression, what runs on several threads in ways of its own: the rest repeats the same pool.
  export GTEST_BRIEF=1
  for program in "${programs[@]}"; do
    local filter='*'
    [ "$program" = compress_test ] && filter='*Threads*:WriteQueue.*:Compress.*:ResumeTest.GoesOn*'
    build/tsan/bin/"$program" --gtest_filter="$filter"
  done
}

# The sources that tidy looks at, one on a line.
tidy_sources() {
  local since
  if [ "${TIDY_COMMITS:=10}" != all ] && since=$(git rev-parse --verify --quiet "HEAD~$TIDY_COMMITS"); then
    git diff --name-only --diff-filter=d "$since" -- 'src/*.cc'
  else
    git ls-files 'src/*.cc'
  fi | grep -v _test.cc || true
}

stage_tidy() {
  cmake --preset dev >/dev/null
  tidy_sources | xargs -r -P "$(nproc)" -n 4 clang-tidy-14 -p build/dev --quiet --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-ignored-optimization-argument 2>/dev/null
  echo "clang-tidy: fine, $(tidy_sources | wc -l) files"
}

stage_web() {
  (cd web && npm ci --no-audit --no-fund --loglevel=error && npm run --silent check && npm test --silent)
  tools/build_web.sh
}

stage_e2e() {
  tools/build_web.sh
  cmake --preset release -DINKSTONE_WERROR=ON >/dev/null
  cmake --build --preset release -- --quiet
  cmake --preset dev >/dev/null
  cmake --build --preset dev --target encode_tool tokenize_tool render_tool -- --quiet
  tests/end_to_end.sh
}

stage_soak() {
  tools/build_web.sh
  cmake --preset release >/dev/null
  cmake --build --preset release --target inkstone -- --quiet
  tests/soak/run.py --short --seconds 4
}

stage_attack() {
  tools/build_web.sh
  cmake --preset release >/dev/null
  cmake --build --preset release --target inkstone -- --quiet
  local script
  for script in tests/attack/[!_]*.py; do
    title "attack: $(basename "$script" .py)"
    timeout 120 python3 "$script" --program build/release/bin/inkstone
  done
}

stage_fuzz() {
  cmake --preset fuzz >/dev/null
  cmake --build --preset fuzz --target fuzzers -- --quiet
  fuzz/run_all.sh "${FUZZ_SECONDS:-10}"
}

tools/install_dependencies.sh test
stages=("$@")
[ $# -gt 0 ] || stages=(checks web asan e2e soak attack tsan fuzz tidy)
for stage in "${stages[@]}"; do
  declare -F "stage_$stage" >/dev/null || { echo "unknown stage '$stage'" >&2; sed -n '2,13p' "$0" >&2; exit 2; }
  title "$stage"
  "stage_$stage"
done
title "all stages passed: ${stages[*]}"
