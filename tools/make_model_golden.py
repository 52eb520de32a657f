#!/usr/bin/env python3
"""Makes tests/data/model_golden/*.json: logits of Hugging Face transformers in f32 on synthetic checkpoints of odd shapes.

Usage: make_model_golden.py build/release/bin/inkstone        (needs torch and transformers)
Each file holds the arguments of `inkstone synth`, the tokens, and the logits at a few positions.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/data/model_golden"
TOKENS = [(i * i * 7 + i * 31 + 5) % 300 for i in range(70)]
POSITIONS = [0, 1, 33, 69]
BASE = dict(vocab=300, hidden=96, layers=2, heads=4, kv_heads=2, head_dim=32, intermediate=160, max_position=256)
CASES = {
    # head_dim x heads != hidden, one KV head, a head that is no multiple of 16
    "qwen3_one_kv_head": dict(BASE, architecture="qwen3", heads=5, kv_heads=1, head_dim=24, rope_theta=1e6),
    "qwen3_one_layer_untied": dict(BASE, architecture="qwen3", layers=1, hidden=64, head_dim=40, untied=True),
    "qwen3_seven_layers": dict(BASE, architecture="qwen3", layers=7, intermediate=224, rope_theta=5e6),
    "qwen3_yarn": dict(BASE, architecture="qwen3", rope_theta=1e6, max_position=256,
                       rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)),
    "qwen2_biases": dict(BASE, architecture="qwen2", hidden=128, heads=4, kv_heads=4, head_dim=32),
    "qwen2_untied_one_kv_head": dict(BASE, architecture="qwen2", hidden=96, heads=3, kv_heads=1, head_dim=32, layers=3, untied=True),
    "llama_tied": dict(BASE, architecture="llama", hidden=96, heads=6, kv_heads=3, head_dim=16, rope_theta=1e4),
    "llama_scaled": dict(BASE, architecture="llama", hidden=128, heads=8, kv_heads=2, head_dim=16, untied=True, rope_theta=5e5,
                         rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                           original_max_position_embeddings=32)),
    "llama_linear": dict(BASE, architecture="llama", hidden=96, heads=3, kv_heads=3, head_dim=32, rope_theta=1e4,
                         rope_scaling=dict(rope_type="linear", factor=2.0)),
}


def synth(program, case, folder):
    args = [program, "synth", "--shape", "qwen3-tiny", "--out", folder, "--type", "F32", "--seed", "7", "--deviation", "0.12"]
    for key, value in case.items():
        flag = "--" + key.replace("_", "-")
        args += [flag] if value is True else [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
    subprocess.run(args, check=True)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            synth(sys.argv[1], case, folder)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
            with torch.no_grad():
                logits = model(torch.tensor([TOKENS])).logits[0]
        rows = [[float(f"{v:.7g}") for v in logits[p].tolist()] for p in POSITIONS]
        (OUT / f"{name}.json").write_text(json.dumps(dict(shape=case, tokens=TOKENS, positions=POSITIONS, logits=rows)) + "\n")
        print(f"{name}: logits from {logits.min():.3f} to {logits.max():.3f}")


if __name__ == "__main__":
    main()
