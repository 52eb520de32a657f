#!/usr/bin/env bash
# Builds the page into web/dist when a source of it is newer.
set -euo pipefail
cd "$(dirname "$0")/../web"
stamp=dist/index.html
if [ -f "$stamp" ] && [ -z "$(find . -path ./node_modules -prune -o -path ./dist -prune -o -type f -newer "$stamp" -print -quit)" ]; then
  exit 0
fi
echo "Building the page" >&2
npm ci --no-audit --no-fund --loglevel=error
npm run --silent build >/dev/null
touch "$stamp"
