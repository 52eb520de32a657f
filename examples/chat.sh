#!/bin/sh
# Streams an answer: examples/chat.sh "QUESTION" [http://127.0.0.1:8080]
set -eu
question=${1:?usage: chat.sh QUESTION [SERVER]}
server=${2:-http://127.0.0.1:8080}
body=$(python3 -c 'import json, sys; print(json.dumps({"messages": [{"role": "user", "content": sys.argv[1]}], "stream": True}))' "$question")
curl --silent --show-error --no-buffer --fail-with-body "$server/v1/chat/completions" \
  -H "content-type: application/json" -d "$body" |
  python3 -uc '
import json, sys
for line in sys.stdin:
    if line.startswith("data: {"):
        for choice in json.loads(line[6:])["choices"]:
            print(choice["delta"].get("content") or "", end="", flush=True)
    elif not line.startswith(("data: [DONE]", ":")) and line.strip():
        print(line, end="", file=sys.stderr)
print()'
