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
TEXTS = ROOT / "src/compress/calibration"  # that no change of a document changes
sys.path.insert(0, str(ROOT / "bench/peers"))
from llama_cpp import FILE_TYPES, Llama, quantize  # noqa: E402  (after the path to it)

INKSTONE = os.environ["INKSTONE"]
TINY = ROOT / "tests/data/tiny-qwen3"
PROMPT = "The configuration file is read when the server starts. To change the port,"
MIXTURES = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS"]
# Mean KL divergence, in nats, that different roundings of the activations may cause on the tiny model.
# llama.cpp multiplies F16 weights by activations rounded to F16 on CPUs without AMX: 2e-7.
KL_LIMIT = {"F32": 1e-8, "F16": 1e-6, "BF16": 1e-4}
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


def our_choices(model, tokens, following):
    """Likeliest token at each place of `following` after what stands before it, and the lead over the second likeliest.

    Where all are those of `following`, that is the greedy text.
    """
    rows = our_logits(model, tokens + following[:-1])[len(tokens) - 1:]
    top = np.sort(rows, axis=-1)[:, -2:]
    return rows.argmax(axis=-1).tolist(), (top[:, 1] - top[:, 0]).tolist()


def make_llama_with_many_queries(folder):
    """Four query heads for each key-value head, an output matrix of its own, rows that are no multiple of 256, and 16 layers."""
    hidden, heads, kv_heads, head_dim, inner, layers = 256, 8, 2, 32, 320, 16
    config = json.loads((TINY / "config.json").read_text())
    config |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "num_attention_heads": heads,
               "num_key_value_heads": kv_heads, "head_dim": head_dim, "intermediate_size": inner, "num_hidden_layers": layers, "tie_word_embeddings": False}
    shapes = {"model.embed_tokens.weight": (6144, hidden), "model.norm.weight": (hidden,), "lm_head.weight": (6144, hidden)}
    for layer in range(layers):
        block = f"model.layers.{layer}."
        shapes |= {block + "input_layernorm.weight": (hidden,), block + "post_attention_layernorm.weight": (hidden,),
                   block + "self_attn.q_proj.weight": (heads * head_dim, hidden), block + "self_attn.o_proj.weight": (hidden, heads * head_dim),
                   block + "mlp.gate_proj.weight": (inner, hidden), block + "mlp.up_proj.weight": (inner, hidden), block + "mlp.down_proj.weight": (hidden, inner)}
        shapes |= {block + f"self_attn.{name}_proj.weight": (kv_heads * head_dim, hidden) for name in "kv"}
    header, position = {}, 0
    for name, shape in shapes.items():
        end = position + 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [position, end]}
        position = end
    folder.mkdir()
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        (folder / name).write_bytes((TINY / name).read_bytes())
    (folder / "config.json").write_text(json.dumps(config))
    text = json.dumps(header).encode()
    values = np.random.default_rng(1).standard_normal(position // 2).astype(np.float16)
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + values.tobytes())


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

    def compare(self, model, limit, prompt=PROMPT):
        llama = Llama(model, threads=1)  # threads wait for each other in loops, which is slow on a busy machine
        try:
            tokens = llama.tokenize(prompt)
            self.assertEqual(tokens, json.loads(inkstone("tokenize", model, text=prompt))["tokens"])
            divergence = kl(llama.logits(tokens), our_logits(model, tokens))
            print(f"{pathlib.Path(model).name}: mean KL from llama.cpp {divergence:.2e}")
            self.assertLess(divergence, limit)
            self.check_greedy(llama, model, tokens, divergence)
        finally:
            llama.close()

    def test_our_files_load_there_and_agree(self):
        for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", *MIXTURES]:
            for option in [[], ["--pure"]] if name in ["Q2_K", "Q3_K_M", "IQ4_NL"] else [[]]:
                with self.subTest(name, option=option):
                    path = self.path / f"ours-{name}{''.join(option)}.gguf"
                    inkstone("compress", TINY, "-o", path, "--type", name, *option)
                    self.compare(path, KL_LIMIT.get(name, KL_LIMIT_OTHER))

    def test_our_calibrated_files_load_there_and_agree(self):
        """Presets, of which int8 needs no text, sizes at both ends, error feedback off, a layer removed."""
        text = self.path / "text.txt"
        text.write_text((TEXTS / "english_manual.txt").read_text()[:1500])
        calibrated = ["--calibration", text]
        cases = [["--preset", "int8"], *([*options, *calibrated] for options in [
            ["--preset", "int8"], ["--preset", "medium"], ["--preset", "deep"], ["--preset", "edge"], ["--bits", "9"], ["--type", "Q4_K_M"],
            ["--type", "IQ4_XS", "--no-feedback"], ["--type", "Q8_0", "--prune", "1", "--prune-loss", "100"]])]
        for number, options in enumerate(cases):
            with self.subTest(options=options):
                path = self.path / f"calibrated-{number}.gguf"
                inkstone("compress", TINY, "-o", path, *options)
                self.compare(path, KL_LIMIT_OTHER)

    def test_their_files_load_here_and_agree(self):
        for name in FILE_TYPES:
            with self.subTest(name):
                path = self.path / f"theirs-{name}.gguf"
                quantize(self.f16, path, name)
                self.compare(path, KL_LIMIT.get(name, KL_LIMIT_OTHER))

    def test_our_mixtures_are_theirs(self):
        """The same type for every tensor, and the same file type; a dry run needs no encoder."""
        sources = {"tiny": self.f16, "smollm2": self.path / "smollm2-F16.gguf", "many-queries": self.path / "many-queries-F16.gguf"}
        inkstone("compress", os.environ["SMOLLM2"], "-o", sources["smollm2"], "--type", "F16")
        many_queries = self.path / "many-queries"
        make_llama_with_many_queries(many_queries)
        inkstone("compress", many_queries, "-o", sources["many-queries"], "--type", "F16")
        few = ["Q3_K_M", "Q4_K_M", "IQ4_NL"]  # of the larger model: llama.cpp quantizes all of it each time
        for model, source in sources.items():
            for name in few if model == "smollm2" else MIXTURES:
                with self.subTest(model=model, mixture=name):
                    path = self.path / "mixture.gguf"
                    quantize(source, path, name)
                    theirs = json.loads(inkstone("inspect", path, "--json"))
                    ours = json.loads(inkstone("compress", source, "--type", name, "--dry-run", "--json"))
                    self.assertEqual({t["name"]: t["type"] for t in ours["tensors"]}, {t["name"]: t["type"] for t in theirs["tensors"]})
                    self.assertEqual(ours["file_bytes"], path.stat().st_size)
                    self.assertEqual(ours["file_type"], int(theirs["metadata"]["general.file_type"]))

    def test_our_q8_0_holds_the_same_weights_as_theirs(self):
        ours, theirs = self.path / "same-ours.gguf", self.path / "same-theirs.gguf"
        inkstone("compress", self.f16, "-o", ours, "--type", "Q8_0")
        quantize(self.f16, theirs, "Q8_0")
        a, b = Llama(ours), Llama(theirs)
        tokens = a.tokenize(PROMPT)
        self.assertTrue(np.array_equal(a.logits(tokens), b.logits(tokens)))
        a.close()
        b.close()

    def test_smollm2_agrees(self):
        prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
        self.compare(os.environ["SMOLLM2"], KL_LIMIT_OTHER, prompt)

    def check_greedy(self, llama, model, tokens, divergence, count=16):
        """The same greedy text, but where the two likeliest tokens are so close that the rounding of activations chooses.

        Rounding that moves logits by e costs a divergence of half the variance of e, so the difference of two logits moves by 2 sqrt(divergence),
        and hardly ever by three times that.
        """
        theirs = llama.greedy(tokens, count)
        ours, leads = our_choices(model, tokens, theirs)
        first = next((i for i in range(count) if ours[i] != theirs[i]), None)
        if first is not None:
            print(f"{pathlib.Path(model).name}: differs at token {first}, where the lead is {leads[first]:.4f}")
            self.assertLess(leads[first], 6 * divergence ** 0.5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
