#!/usr/bin/env python3
"""RoPE tables in float64 by the published formulas, for rope_test.cc.

Usage: rope_reference.py > tests/data/model_golden/rope_tables.json

Written from the papers (Peng et al. 2023 for YaRN, Grattafiori et al. 2024 for Llama 3) and the field descriptions of
Hugging Face transformers, apart from the program. Each case: fields of config.json, and what the model turns by.
"""
import json
import math

HEAD_DIM = 64
THETA = 1e6


def yarn(p, theta, positions):
    factor, original = p["factor"], p.get("original_max_position_embeddings", positions)
    dim_of = lambda turns: HEAD_DIM * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))
    low, high = dim_of(p.get("beta_fast") or 32), dim_of(p.get("beta_slow") or 1)
    if p.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, HEAD_DIM - 1)
    if low == high:
        high += 0.001
    table = []
    for i in range(HEAD_DIM // 2):
        own = theta ** (-2 * i / HEAD_DIM)
        ramp = min(max((i - low) / (high - low), 0), 1)
        table.append(own / factor * ramp + own * (1 - ramp))
    scale = lambda m: 0.1 * m * math.log(factor) + 1 if factor > 1 else 1.0
    amplitude = scale(1) * p.get("attn_factor", 1)
    if p.get("mscale") and p.get("mscale_all_dim"):
        amplitude = scale(p["mscale"]) / scale(p["mscale_all_dim"])
    return table, p.get("attention_factor") or amplitude, max(positions, int(original * factor))


def llama3(p, theta, positions):
    original, table = p["original_max_position_embeddings"], []
    for i in range(HEAD_DIM // 2):
        own = theta ** (-2 * i / HEAD_DIM)
        wave = 2 * math.pi / own
        if wave > original / p["low_freq_factor"]:
            own /= p["factor"]
        elif wave >= original / p["high_freq_factor"]:
            mix = (original / wave - p["low_freq_factor"]) / (p["high_freq_factor"] - p["low_freq_factor"])
            own = (1 - mix) * own / p["factor"] + mix * own
        table.append(own)
    return table, 1.0, positions


def linear(p, theta, positions):
    return [theta ** (-2 * i / HEAD_DIM) / p.get("factor", 1) for i in range(HEAD_DIM // 2)], 1.0, positions


def case(name, arch, positions=2048, **fields):
    p = dict(fields.get("rope_scaling") or fields.get("rope_parameters") or {})
    p = p.get("full_attention", p)
    theta = p.get("rope_theta", fields.get("rope_theta", 1e4))
    formula = {"yarn": yarn, "llama3": llama3}.get(p.get("rope_type", p.get("type", "default")), linear)
    table, amplitude, context = formula(p, theta, positions)
    return {"name": name, "architecture": arch, "config": {"max_position_embeddings": positions, **fields},
            "frequencies": table, "amplitude": amplitude, "context": context}


def scaled(arch, name, positions=2048, **scaling):
    return case(name, arch, positions, rope_theta=THETA, rope_scaling=scaling)


if __name__ == "__main__":
    y = {"rope_type": "yarn", "factor": 4.0}
    cases = [
        case("plain", "qwen3", rope_theta=THETA),
        scaled("qwen3", "linear", type="linear", factor=2.5),
        scaled("qwen3", "yarn-context", type="yarn", factor=4.0, original_max_position_embeddings=2048),
        scaled("qwen2", "yarn-32k", 32768, type="yarn", factor=4.0, original_max_position_embeddings=32768),
        scaled("qwen3", "yarn-40k", 40960, **y, original_max_position_embeddings=32768),
        scaled("qwen3", "truncate", **y, original_max_position_embeddings=64, truncate=False),
        scaled("qwen3", "truncated", **y, original_max_position_embeddings=64, truncate=True),
        scaled("qwen3", "attn_factor", **y, original_max_position_embeddings=512, attn_factor=0.8782488562869419),
        scaled("qwen3", "attention_factor", **y, original_max_position_embeddings=512, attention_factor=1.25),
        scaled("qwen2", "mscale", **y, original_max_position_embeddings=512, mscale=0.707, mscale_all_dim=1.0),
        scaled("qwen2", "mscale-alone", **y, original_max_position_embeddings=512, mscale=0.707),
        scaled("llama", "betas", **y, original_max_position_embeddings=512, beta_fast=16, beta_slow=2),
        scaled("qwen3", "no-original", **y),
        scaled("llama", "yarn-of-llama", **y, original_max_position_embeddings=256, truncate=False),
        scaled("llama", "llama3", rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
               original_max_position_embeddings=512),
        case("new-style", "qwen3", rope_parameters={**y, "rope_theta": 5e5, "original_max_position_embeddings": 512}),
        case("by-layer-kind", "qwen3", rope_parameters={
            "full_attention": {**y, "rope_theta": 5e5, "original_max_position_embeddings": 512},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}),
    ]
    print("[" + ",\n".join(json.dumps(c) for c in cases) + "]")
