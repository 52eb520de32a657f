"""A model file is cut while it is served: the program says which file, and ends with status 1."""
import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
failures = 0


def check(good, what, found=""):
    global failures
    failures += not good
    print(("ok      " if good else "FAILED  ") + what + ("" if good else f": {found}"))


def start(program, model):
    words = [program, "serve", str(model), "--port", "0", "--threads", "2"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    timer = threading.Timer(30, process.kill)
    timer.start()
    found = re.search(r":(\d+)/", process.stdout.readline())
    timer.cancel()
    return process, int(found[1]) if found else 0


def ask(port):
    body = json.dumps({"prompt": "The history of printing", "max_tokens": 8, "temperature": 0}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["choices"][0]["text"]
    except (OSError, urllib.error.URLError):
        return None


def end_of(process):
    try:
        _, errors = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
    return process.returncode, errors


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default=str(ROOT / "build/release/bin/inkstone"))
    parser.add_argument("--model", default=str(ROOT / "tests/data/tiny-qwen3"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="inkstone-sigbus-") as folder:
        model = pathlib.Path(folder) / "model.gguf"
        made = subprocess.run([options.program, "compress", options.model, "-o", str(model), "--type", "Q8_0"], capture_output=True, timeout=60)
        check(made.returncode == 0, "a model to serve is made", made.stderr)

        process, port = start(options.program, model)
        before = ask(port)
        os.truncate(model, 4096)
        ask(port)
        code, errors = end_of(process)
        check(bool(before) and code == 1, "a server whose model is cut ends with status 1", f"status {code}")
        check(f"{model}: the file was cut or overwritten while it was in use" in errors, "and names the file", errors[-500:])

        subprocess.run([options.program, "compress", options.model, "-o", str(model), "--type", "Q8_0"], capture_output=True, timeout=60)
        process, port = start(options.program, model)
        before = ask(port)
        other = model.with_name("other.gguf")
        other.write_bytes(b"another model")
        other.rename(model)
        after = ask(port)
        check(bool(before) and before == after, "one whose model is replaced by renaming answers on", f"{before!r}, then {after!r}")
        process.send_signal(signal.SIGTERM)
        code, errors = end_of(process)
        check(code == 0, "and ends well", f"status {code}: {errors[-500:]}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
