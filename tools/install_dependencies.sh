#!/usr/bin/env bash
# Installs the Debian and Ubuntu packages that Inkstone needs. Usage: tools/install_dependencies.sh run|test
#   run    what building and serving needs
#   test   that, and what the tests, sanitizers, fuzzers and style checks need
set -euo pipefail

run_packages=(g++ cmake ninja-build ccache pkg-config python3 python3-pip python3-venv
  libpcre2-dev libutf8proc-dev libxxhash-dev libssl-dev libspdlog-dev libcli11-dev prometheus-cpp-dev libhwloc-dev)
test_packages=(git libgtest-dev libgmock-dev clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev chromium curl unzip procps
  fonts-noto-cjk fonts-noto-color-emoji)

# Boost 1.81 or newer: Debian 12 has it beside its default 1.74, later releases as their default.
boost_packages() {
  if apt-cache show libboost1.81-dev >/dev/null 2>&1; then
    echo libboost1.81-dev libboost-json1.81-dev
  else
    echo libboost-dev libboost-json-dev
  fi
}

# Ubuntu's chromium is a snap stub, which containers cannot run; any Chromium or Chrome that is there will do.
have_browser() { command -v chromium >/dev/null || command -v google-chrome >/dev/null; }

main() {
  local mode=${1:?usage: tools/install_dependencies.sh run|test}
  command -v apt-get >/dev/null || { echo "Inkstone's scripts know apt-get only; install what tools/install_dependencies.sh lists, and go on with cmake." >&2; exit 1; }
  local sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo

  local wanted=("${run_packages[@]}") missing=()
  [ "$mode" = run ] || wanted+=("${test_packages[@]}")
  command -v node >/dev/null && command -v npm >/dev/null || wanted+=(nodejs npm)
  local list_is_fresh=no
  if ! apt-cache show libcli11-dev >/dev/null 2>&1; then $sudo apt-get update -qq; list_is_fresh=yes; fi
  # shellcheck disable=SC2207
  wanted+=($(boost_packages))
  for package in "${wanted[@]}"; do
    [ "$package" = chromium ] && have_browser && continue
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return 0
  echo "Installing: ${missing[*]}"
  [ $list_is_fresh = yes ] || $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

main "$@"
