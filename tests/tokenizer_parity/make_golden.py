#!/usr/bin/env python3
"""Writes golden_tiny_qwen3.jsonl: short texts and the ids that Hugging Face `tokenizers` gives for tests/data/tiny-qwen3,
one {"text", "ids"} a line, for the unit test. Needs: pip install tokenizers. Usage: make_golden.py > golden_tiny_qwen3.jsonl
"""
import json
import random

from tokenizers import Tokenizer

import parity_texts as texts


def main():
    rng = random.Random(7)
    tokenizer = Tokenizer.from_file(str(texts.ROOT / "tests/data/tiny-qwen3/tokenizer.json"))
    words = [texts.word(rng) for _ in range(300)] + ["hello", "world", "tokenizer", "straße", "naïve", "Привет", "日本語"]
    samples = ["", " ", "Hello, world!", "你好，世界", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n"]
    samples += texts.CONTRACTIONS[::7] + texts.TAGS + texts.EMOJI + list(texts.SPACES)
    samples += ["a" + s + "b " + s + s for s in texts.SPACES]
    samples += [texts.mixed(rng, rng.choice([10, 30, 80]), words).decode() for _ in range(250)]
    for text in samples:
        print(json.dumps({"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids}))


if __name__ == "__main__":
    main()
