"""Inkstone and llama.cpp on the same files: ours load there, theirs load here, and the numbers agree.

Environment: INKSTONE names the program, SMOLLM2 a GGUF of SmolLM2-135M-Instruct. Needs llama-cpp-py-sync and numpy.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench/peers"))
from llama_cpp import FILE_TYPES, Llama, quantize  # noqa: E402  (after the path to it)

INKSTONE = os.environ["INKSTONE"]
TINY = ROOT / "tests/data/tiny-qwen3"
PROMPT = "The configuration file is read when the server starts. To change the port,"
# Mean KL divergence, in nats, that different roundings of the activations may cause on the tiny model.
KL_LIMIT = {"F16": 1e-8, "BF16": 1e-4}
KL_LIMIT_OTHER = 4e-3


def inkstone(*args, text=None):
    return subprocess.run([INKSTONE, *map(str, args)], input=text, capture_output=True, text=True, check=True, timeout=300).stdout


def our_logits(model, tokens):
    return np.array(json.loads(inkstone("logits", model, "--all", "--tokens", ",".join(map(str, tokens))))["logits"])


def kl(p_logits, q_logits):
    def log_softmax(x):
        x = x.astype(np.float64)
        x = x - x.max(axis=-1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    p, q = log_softmax(p_logits), log_softmax(q_logits)
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())


def our_greedy(model, tokens, count):
    """Likeliest next tokens, and the lead of each over the second likeliest."""
    out, leads = [], []
    for _ in range(count):
        row = np.array(json.loads(inkstone("logits", model, "--tokens", ",".join(map(str, tokens + out))))["logits"])
        top = np.sort(row)[-2:]
        out.append(int(row.argmax()))
        leads.append(float(top[1] - top[0]))
    return out, leads


class LlamaCppTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.f16 = cls.path / "tiny-F16.gguf"
        inkstone("compress", TINY, "-o", cls.f16, "--type", "F16")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def compare(self, model, limit):
        llama = Llama(model)
        try:
            tokens = llama.tokenize(PROMPT)
            self.assertEqual(tokens, json.loads(inkstone("tokenize", model, text=PROMPT))["tokens"])
            divergence = kl(llama.logits(tokens), our_logits(model, tokens))
            print(f"{pathlib.Path(model).name}: mean KL from llama.cpp {divergence:.2e}")
            self.assertLess(divergence, limit)
        finally:
            llama.close()

    def test_our_files_load_there_and_agree(self):
        for name in ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1"]:
            with self.subTest(name):
                path = self.path / f"ours-{name}.gguf"
                inkstone("compress", TINY, "-o", path, "--type", name)
                self.compare(path, KL_LIMIT.get(name, KL_LIMIT_OTHER))

    def test_their_files_load_here_and_agree(self):
        for name in FILE_TYPES:
            with self.subTest(name):
                path = self.path / f"theirs-{name}.gguf"
                quantize(self.f16, path, name)
                self.compare(path, KL_LIMIT.get(name, KL_LIMIT_OTHER))

    def test_our_q8_0_holds_the_same_weights_as_theirs(self):
        ours, theirs = self.path / "same-ours.gguf", self.path / "same-theirs.gguf"
        inkstone("compress", self.f16, "-o", ours, "--type", "Q8_0")
        quantize(self.f16, theirs, "Q8_0")
        a, b = Llama(ours), Llama(theirs)
        tokens = a.tokenize(PROMPT)
        self.assertTrue(np.array_equal(a.logits(tokens), b.logits(tokens)))
        a.close()
        b.close()

    def test_greedy_text_is_the_same(self):
        for name in ["F16", "Q8_0", "Q4_0"]:
            with self.subTest(name):
                path = self.path / f"greedy-{name}.gguf"
                inkstone("compress", TINY, "-o", path, "--type", name)
                self.check_greedy(path, PROMPT, 40)

    def test_greedy_text_of_smollm2_is_the_same(self):
        prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
        self.check_greedy(os.environ["SMOLLM2"], prompt, 16)

    def check_greedy(self, model, prompt, count):
        llama = Llama(model)
        tokens = llama.tokenize(prompt)
        theirs = llama.greedy(tokens, count)
        llama.close()
        ours, leads = our_greedy(model, tokens, count)
        first = next((i for i in range(count) if ours[i] != theirs[i]), None)
        # Where the two likeliest tokens are as good as equal, rounding may choose either; nowhere else.
        if first is not None:
            print(f"{pathlib.Path(model).name}: differs at token {first}, where the lead is {leads[first]:.4f}")
            self.assertLess(leads[first], 0.05)
            self.assertGreaterEqual(first, 4)


if __name__ == "__main__":
    unittest.main(verbosity=2)
