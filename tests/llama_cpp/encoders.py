#!/usr/bin/env python3
"""Squared errors of our encoders beside llama.cpp's: a table of ratios (ours / theirs) by type and distribution.

  encoders.py ENCODE_TOOL [TYPE...]

Both results are decoded by llama.cpp. Exit status 1 if a ratio is above 1. LLAMA_CPP names the folder with its libraries.
`imatrix`: Gaussian weights, with the error weighted by column as an importance matrix does in llama.cpp.
"""
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# ggml_type, and the part of the decoder's name
TYPES = {
    "Q4_0": (2, "q4_0"), "Q4_1": (3, "q4_1"), "Q5_0": (6, "q5_0"), "Q5_1": (7, "q5_1"), "Q8_0": (8, "q8_0"),
    "Q2_K": (10, "q2_K"), "Q3_K": (11, "q3_K"), "Q4_K": (12, "q4_K"), "Q5_K": (13, "q5_K"), "Q6_K": (14, "q6_K"),
    "IQ4_NL": (20, "iq4_nl"), "IQ4_XS": (23, "iq4_xs"),
}
FLOATS = ctypes.POINTER(ctypes.c_float)
ggml = ctypes.CDLL(os.path.join(os.environ["LLAMA_CPP"], "libggml-base.so"))
ggml.ggml_quantize_chunk.argtypes = [
    ctypes.c_int, FLOATS, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, FLOATS]
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t


def floats(array):
    return array.ctypes.data_as(FLOATS)


def decode(name, blocks, shape):
    out = np.empty(shape, np.float32)
    function = getattr(ggml, f"dequantize_row_{TYPES[name][1]}")
    function.argtypes = [ctypes.c_char_p, FLOATS, ctypes.c_int64]
    function.restype = None
    function(blocks, floats(out), out.size)
    return out


def theirs(name, x, columns):
    """`columns`: the imatrix, one value for each column, or None."""
    blocks = ctypes.create_string_buffer(x.size * 5)
    size = ggml.ggml_quantize_chunk(TYPES[name][0], floats(x), blocks, 0, x.shape[0], x.shape[1],
                                    None if columns is None else floats(columns))
    return decode(name, blocks.raw[:size], x.shape)


def ours(tool, name, x, columns):
    with tempfile.NamedTemporaryFile() as file:
        arguments = []
        if columns is not None:
            np.ascontiguousarray(np.broadcast_to(columns, x.shape)).tofile(file.name)
            arguments = [file.name]
        blocks = subprocess.run([tool, name, *arguments], input=x.tobytes(), stdout=subprocess.PIPE, check=True).stdout
    return decode(name, blocks, x.shape)


def tensors():
    """Matrices of tests/data/tiny-qwen3, by name."""
    path = ROOT / "tests/data/tiny-qwen3/model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    for name in ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
                 "model.layers.2.mlp.down_proj.weight", "model.layers.4.mlp.gate_proj.weight",
                 "model.layers.5.self_attn.v_proj.weight"]:
        entry = header[name]
        assert entry["dtype"] == "BF16"
        begin, end = (8 + size + at for at in entry["data_offsets"])
        values = np.frombuffer(data[begin:end], np.uint16).astype(np.uint32) << 16
        yield name, np.ascontiguousarray(values.view(np.float32).reshape(entry["shape"])[:1024])


def cases():
    """(name, matrices, importance of the columns or None)"""
    random = np.random.default_rng(1)
    shape = (256, 1024)
    gaussian = random.standard_normal(shape, np.float32)
    columns = (random.standard_normal(shape[1]) ** 4 + 0.01).astype(np.float32)
    heavy = random.standard_t(3, shape).astype(np.float32)
    real = dict(tensors())
    yield "uniform", [random.uniform(-1, 1, shape).astype(np.float32)], None
    yield "Gaussian", [gaussian], None
    yield "Student t", [heavy], None
    for name, matrix in real.items():
        yield name.split(".")[-2], [matrix], None
    yield "imatrix", [gaussian], columns
    yield "t imatrix", [heavy], columns
    down = real["model.layers.2.mlp.down_proj.weight"]
    yield "down imatrix", [down], columns[:down.shape[1]].copy()


def error(x, decoded, columns):
    squares = (x.astype(np.float64) - decoded) ** 2
    return float((squares if columns is None else squares * columns).sum())


def main():
    tool, names = sys.argv[1], sys.argv[2:] or list(TYPES)
    rows = list(cases())
    print(f"{'':7}" + "".join(f"{name:>13}" for name, _, _ in rows))
    worst = 0.0
    for name in names:
        ratios = []
        for _, matrices, columns in rows:
            mine = sum(error(x, ours(tool, name, x, columns), columns) for x in matrices)
            other = sum(error(x, theirs(name, x, columns), columns) for x in matrices)
            ratios.append(mine / other)
        worst = max([worst, *ratios])
        print(f"{name:7}" + "".join(f"{ratio:13.4f}" for ratio in ratios), flush=True)
    return 0 if worst <= 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
