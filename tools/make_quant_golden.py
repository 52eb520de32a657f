#!/usr/bin/env python3
"""Writes src/quant/testdata: what the Python package `gguf` makes of random blocks and of fixed values.

  pip install gguf numpy && tools/make_quant_golden.py

<TYPE>.bin holds random blocks whose binary16 scales are finite, <TYPE>.f32 their decoded values. encode.f32 holds
values to encode, encode_<TYPE>.bin the result.
"""
import pathlib

import gguf
import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "src" / "quant" / "testdata"

# Byte offsets of the binary16 fields in each block.
HALF_FIELDS = {
    "F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
    "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
}


def random_blocks(rng, name):
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    count = {1: 512, 32: 24, 256: 4}[elements]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for field in HALF_FIELDS.get(name, []):
        infinite = (blocks[:, field + 1] & 0x7C) == 0x7C
        blocks[infinite, field + 1] &= 0xBF
    if name in ("F32", "BF16"):
        values = blocks.reshape(count, size)
        infinite = (values[:, -1] & 0x7F == 0x7F) & (values[:, -2] & 0x80 == 0x80)
        values[infinite, -1] &= 0xBF
    return blocks.reshape(-1)


def encode_input(rng):
    """32 rows of 32: weights, ties of the rounding rules, extremes, zeros and constants."""
    rows = rng.normal(0, 0.02, (32, 32)).astype(np.float32)
    rows[1] = 0
    rows[2] = 1
    rows[3] = -3.25
    rows[4] = np.arange(32) - 16          # the largest magnitude is negative
    rows[5] = 16 - np.arange(32)          # ... positive
    rows[6] = np.arange(32) / 2 - 8       # halves
    rows[6, 0] = 127                      # scale 1 in Q8_0: halves are ties
    rows[7] = np.where(np.arange(32) % 2, 5, -5)  # two values of the largest magnitude
    rows[8] *= 1e-6                       # subnormal scales in binary16
    rows[9] *= 1e-30                      # scales that vanish in binary16
    rows[10] = rng.normal(0, 1000, 32)
    rows[11, 7] = 60000
    rows[12] = np.abs(rows[12])
    rows[13] = -np.abs(rows[13])
    rows[14] = np.float32(2.0) ** (-np.arange(32))
    rows[15] = np.nextafter(np.float32(0.5), np.float32(0)) * np.where(np.arange(32) % 2, 1, -1)
    rows[15, 0] = 127
    return rows


def main():
    rng = np.random.default_rng(20261122)
    OUT.mkdir(exist_ok=True)
    for name in ["F32", "BF16", *HALF_FIELDS]:
        blocks = random_blocks(rng, name)
        blocks.tofile(OUT / f"{name}.bin")
        decoded = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name])
        decoded.astype("<f4").tofile(OUT / f"{name}.f32")
    values = encode_input(rng)
    values.astype("<f4").tofile(OUT / "encode.f32")
    for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"]:
        gguf.quants.quantize(values, gguf.GGMLQuantizationType[name]).tofile(OUT / f"encode_{name}.bin")


if __name__ == "__main__":
    main()
