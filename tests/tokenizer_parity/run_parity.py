#!/usr/bin/env python3
"""Compares the tokenizer with Hugging Face `tokenizers`, token for token, both ways.

usage: run_parity.py TOOL [--mb 20] [--seed 1] [--model NAME=FILE ...]

TOOL is the built tokenize_tool. Always compared: tests/data/tiny-qwen3, its vocabulary under other pre-tokenizers
(GPT-2's, Llama 3's, digits, a pattern without a scanner of its own), and added tokens of every kind. --model adds a tokenizer.json, or a GGUF
file whose vocabulary a Hugging Face tokenizer is then built from (needs: pip install gguf). Needs: pip install tokenizers.
"""
import argparse
import itertools
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

import parity_texts

TINY = parity_texts.ROOT / "tests/data/tiny-qwen3/tokenizer.json"
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
LLAMA3 = CONTRACTION + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
OTHER = r"[^\s\p{N}]{1,7}|\p{N}{2}|\s+"


class Tool:
    def __init__(self, program, model):
        self.process = subprocess.Popen([program, str(model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ask(self, kind, data):
        try:
            self.process.stdin.write(kind + struct.pack("<I", len(data)) + data)
            self.process.stdin.flush()
            size = struct.unpack("<I", self.process.stdout.read(4))[0]
        except (BrokenPipeError, struct.error):
            sys.exit("tokenize_tool failed: " + self.process.stderr.read().decode())
        return self.process.stdout.read(size)

    def encode(self, data, plain=False):
        out = self.ask(b"p" if plain else b"r", data)
        return list(struct.unpack(f"<{len(out) // 4}i", out))

    def decode(self, ids):
        return self.ask(b"d", struct.pack(f"<{len(ids)}i", *ids)).decode()

    def finish(self):
        self.process.stdin.close()
        return self.process.stderr.read().decode().strip()


def from_gguf(path):
    import gguf

    fields = gguf.GGUFReader(path).fields
    read = lambda key: fields["tokenizer.ggml." + key].contents()
    tokens, types = read("tokens"), read("token_type")
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in read("merges")]))
    if read("pre") != "smollm":
        sys.exit(f"{path}: no recipe for the pre-tokenizer {read('pre')}")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, k in zip(tokens, types) if k == 3])
    return tokenizer


def split(pattern):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])


def variants():
    """(name, tokenizer) made from the test model's vocabulary."""
    yield "tiny-qwen3", Tokenizer.from_file(str(TINY))
    recipes = {
        "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
        "prefix-space": pre_tokenizers.ByteLevel(add_prefix_space=True),
        "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        "digit-runs": pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=True)]),
        "llama-3": split(LLAMA3),
        "other-pattern": split(OTHER),
    }
    for name, recipe in recipes.items():
        tokenizer = Tokenizer.from_file(str(TINY))
        tokenizer.pre_tokenizer = recipe
        if name in ("llama-3", "gpt-2"):
            tokenizer.normalizer = None
        if name == "llama-3":
            data = json.loads(tokenizer.to_str())
            data["model"]["ignore_merges"] = True
            tokenizer = Tokenizer.from_str(json.dumps(data))
        yield name, tokenizer
    tokenizer = Tokenizer.from_file(str(TINY))
    tokenizer.add_tokens([
        AddedToken("tion", single_word=True, normalized=False), AddedToken(" the", lstrip=True, rstrip=True, normalized=False),
        AddedToken("e\u0301", normalized=True), AddedToken("\u1161", normalized=True, lstrip=True), AddedToken("<th", normalized=False),
        AddedToken("std::", rstrip=True, normalized=True), AddedToken("。", single_word=True, normalized=True), AddedToken("ba", single_word=True, normalized=True)])
    yield "added-tokens", tokenizer


def first_difference(ours, theirs):
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    return f"token {at} of {len(ours)} / {len(theirs)}: ours {ours[at:at + 8]}, reference {theirs[at:at + 8]}"


def with_reference(reference, texts):
    """(index, text, the reference's ids), encoded a batch at a time on every core."""
    index = 0
    texts = iter(texts)
    while batch := list(itertools.islice(texts, 200)):
        decoded = [data.decode("utf-8", errors="replace") for data in batch]
        for data, encoding in zip(batch, reference.encode_batch_fast(decoded, add_special_tokens=False)):
            yield index, data, encoding.ids
            index += 1


def compare(name, program, model, reference, texts):
    tool = Tool(program, model)
    size = tokens = failures = 0
    slowest = 0.0
    for index, data, theirs in with_reference(reference, texts):
        start = time.monotonic()
        ours = tool.encode(data)
        slowest = max(slowest, time.monotonic() - start)
        size += len(data)
        tokens += len(ours)
        problem = None
        if ours != theirs:
            problem = first_difference(ours, theirs)
        elif len(data) < 40000 and tool.decode(ours) != reference.decode(ours):
            problem = "decoded text differs"
        elif len(data) < 40000 and index % 8 == 0 and tool.decode(ours[1::2]) != reference.decode(ours[1::2]):
            problem = "decoded text of every second token differs"
        if problem:
            failures += 1
            if failures <= 5:
                print(f"{name}: text {index} ({len(data)} bytes, {data[:60]!r}): {problem}", file=sys.stderr)
    plain = tool.encode("<|im_end|><think>".encode(), plain=True)
    if tool.decode(plain).strip() != "<|im_end|><think>":
        failures += 1
        print(f"{name}: plain text of special tokens gave {plain}", file=sys.stderr)
    print(f"{name}: {size / 1e6:.1f} MB, {tokens} tokens, {failures} differences; {tool.finish()}, slowest request {slowest:.2f} s",
          flush=True)
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    parser.add_argument("--mb", type=float, default=20, help="size of all compared text together")
    parser.add_argument("--run-kb", type=int, default=50, help="size of a run of one character")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--only", help="compare this one alone")
    args = parser.parse_args()
    given = [m.split("=", 1) for m in args.model]
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for name, tokenizer in variants():
            path = pathlib.Path(folder) / f"{name}.json"
            tokenizer.save(str(path))
            cases.append((name, path, tokenizer))
        for name, path in given:
            cases.append((name, path, from_gguf(path) if path.endswith(".gguf") else Tokenizer.from_file(path)))
        cases = [c for c in cases if args.only in (None, c[0])]
        share = args.mb * 1e6 / len(cases)
        failures = 0
        for i, (name, path, tokenizer) in enumerate(cases):
            texts = parity_texts.texts(args.seed * 100 + i, share, args.run_kb * 1000, files=i == 0 or i >= len(cases) - len(given))
            failures += compare(name, args.tool, path, tokenizer, texts)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
