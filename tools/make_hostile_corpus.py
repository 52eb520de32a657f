#!/usr/bin/env python3
"""Writes tests/hostile/formats: damaged and malicious model files, and for each the words its error must contain;
and fuzz/seeds: small valid inputs from which the fuzzers start.

    tools/make_hostile_corpus.py [ROOT]

expected.tsv has one line per case: path, tab, words. A folder is opened as a Hugging Face folder, a file as a GGUF.
The output is committed; run this again after adding a case. Needs only Python's standard library.
"""
import json
import math
import pathlib
import shutil
import struct
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
HUGE = 2**64 - 1


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return u64(len(data)) + data


def string_key(key, value):
    return text(key) + u32(STRING) + text(value)


def u32_key(key, value):
    return text(key) + u32(U32) + u32(value)


def tensor(name, dims, dtype=0, offset=0):
    return text(name) + u32(len(dims)) + b"".join(u64(d) for d in dims) + u32(dtype) + u64(offset)


def gguf(keys=(), tensors=(), data=b"", version=3, key_count=None, tensor_count=None, align=32):
    out = b"GGUF" + u32(version)
    out += u64(len(tensors) if tensor_count is None else tensor_count)
    out += u64(len(keys) if key_count is None else key_count)
    out += b"".join(keys) + b"".join(tensors)
    return out + b"\0" * (-len(out) % align) + data


ARCH = string_key("general.architecture", "qwen3")


def gguf_cases():
    z = bytes
    yield "magic", b"GGML" + u32(3) + z(64), 'magic at offset 0: expected "GGUF", found "GGML"'
    yield "short-magic", b"GG", "magic at offset 0: expected 4 more bytes, found 2"
    yield "short-header", b"GGUF" + u32(3) + u64(0), "metadata key count at offset 16: expected 8 more bytes"
    yield "big-endian", b"GGUF" + struct.pack(">I", 3) + z(64), "big-endian"
    yield "version-1", gguf(version=1), "version at offset 4: expected 2 or 3, found 1"
    yield "version-99", gguf(version=99), "expected 2 or 3, found 99"
    yield "version-0", gguf(version=0), "expected 2 or 3, found 0"
    yield "tensor-count", gguf(tensor_count=HUGE), "tensor count at offset 8: expected at most"
    yield "tensor-count-more", gguf([ARCH], [tensor("a", [8])], z(32), tensor_count=2), "tensor name"
    yield "key-count", gguf(key_count=HUGE), "metadata key count at offset 16: expected at most"
    yield "key-count-more", gguf([ARCH] * 1, key_count=3, data=z(200)), "metadata key"
    yield "key-empty", gguf([string_key("", "x")]), "expected a length from 1 to 65535, found 0"
    yield "key-twice", gguf([ARCH, ARCH]), 'expected unique keys, found "general.architecture" twice'
    yield "key-length", gguf([u64(HUGE) + z(32)]), "expected a length of at most"
    yield "key-length-wraps", gguf([u64(2**63) + z(32)]), "expected a length of at most"
    yield "key-too-long", gguf([string_key("k" * 65536, "x")]), "found 65536"
    yield "value-type", gguf([text("k") + u32(13) + u64(0)]), 'type of "k" at offset 33: expected a value type'
    yield "value-cut", b"GGUF" + u32(3) + u64(0) + u64(1) + text("key") + u32(U64) + z(3), "expected 8 more bytes, found 3"
    yield "bool", gguf([text("k") + u32(BOOL) + b"\2"]), "expected a bool, 0 or 1, found 2"
    yield "u64-range", gguf([text("k") + u32(U64) + u64(2**63)]), "expected a number below 2^63"
    yield "string-length", gguf([text("k") + u32(STRING) + u64(HUGE)]), 'value of "k"'
    yield "array-nested", gguf([text("k") + u32(ARRAY) + u32(ARRAY) + u64(1) + u32(U8) + u64(0)]), "nested array"
    yield "array-type", gguf([text("k") + u32(ARRAY) + u32(77) + u64(0)]), "array type"
    yield "array-length", gguf([text("k") + u32(ARRAY) + u32(U8) + u64(HUGE)]), "array length"
    yield "array-length-wraps", gguf([text("k") + u32(ARRAY) + u32(F64) + u64(2**61)], data=z(64)), "array length"
    yield "array-strings", gguf([text("k") + u32(ARRAY) + u32(STRING) + u64(2**60)], data=z(64)), "array length"
    yield "array-string-cut", gguf([text("k") + u32(ARRAY) + u32(STRING) + u64(2) + text("a") + u64(1 << 40)]), \
        "string element"
    yield "array-bool", gguf([text("k") + u32(ARRAY) + u32(BOOL) + u64(2) + b"\1\7"]), "found 7"
    for value in (0, 1, 3, 4, 48, 2**31):
        yield f"alignment-{value}", gguf([u32_key("general.alignment", value)]), "general.alignment: expected a power of"
    yield "alignment-type", gguf([string_key("general.alignment", "32")]), "expected an integer, found string"
    yield "tensor-name-empty", gguf([], [tensor("", [8])], z(32)), "expected a length from 1 to 64, found 0"
    yield "tensor-name-long", gguf([], [tensor("n" * 65, [8])], z(32)), "found 65"
    yield "tensor-twice", gguf([], [tensor("a", [8]), tensor("a", [8], 0, 32)], z(64)), '"a": expected unique names'
    yield "dims-0", gguf([], [tensor("a", [])], z(64)), "expected 1 to 4, found 0"
    yield "dims-5", gguf([], [tensor("a", [1] * 5)], z(64)), "expected 1 to 4, found 5"
    yield "dims-huge", gguf([], [text("a") + u32(2**32 - 1)], z(64)), "expected 1 to 4, found 4294967295"
    yield "dim-0", gguf([], [tensor("a", [8, 0])], z(64)), 'dimension of "a"'
    yield "dim-negative", gguf([], [tensor("a", [HUGE])], z(64)), 'dimension of "a"'
    yield "dims-overflow", gguf([], [tensor("a", [2**40, 2**40])], z(64)), "overflows"
    yield "bytes-overflow", gguf([], [tensor("a", [2**40, 2**21])], z(64)), "overflows"
    yield "block", gguf([], [tensor("a", [33], 2)], z(64)), "multiple of 32 elements for type Q4_0, found 33"
    yield "block-outer", gguf([], [tensor("a", [8, 32], 8)], z(512)), "multiple of 32 elements for type Q8_0, found 8"
    yield "block-k", gguf([], [tensor("a", [128], 12)], z(512)), "multiple of 256 elements for type Q4_K, found 128"
    for number, name in ((17, "IQ2_XS"), (9, "Q8_1"), (34, "TQ1_0"), (39, "MXFP4"), (27, "I64"), (4, "Q4_2 (removed")):
        yield f"type-{number}", gguf([], [tensor("a", [256], number)], z(512)), f"found {name}"
    yield "type-unknown", gguf([], [tensor("a", [256], 1000)], z(512)), "found the unknown number 1000"
    yield "offset-unaligned", gguf([], [tensor("a", [8], 0, 16)], z(64)), "multiple of 32, found 16"
    yield "offset-outside", gguf([], [tensor("a", [8], 0, 64)], z(64)), "truncated or damaged"
    yield "offset-huge", gguf([], [tensor("a", [8], 0, HUGE - 31)], z(64)), "truncated or damaged"
    yield "data-cut", gguf([], [tensor("a", [8])], z(31)), "truncated or damaged"
    yield "data-none", gguf([], [tensor("a", [8])])[:-7], "truncated or damaged"
    yield "overlap", gguf([], [tensor("a", [16]), tensor("b", [8], 0, 32)], z(64)), "overlap"
    yield "overlap-same", gguf([], [tensor("a", [8]), tensor("b", [8])], z(64)), "overlap"
    yield "split-alone", gguf([text("split.count") + u32(U16) + b"\3\0"]), "split.count is 3"
    yield "split-negative", gguf([text("split.count") + u32(I32) + u32(2**32 - 5)]), "expected 1 to 99999, found -5"
    yield "split-type", gguf([string_key("split.count", "3")]), "expected an integer, found string"
    yield "name-escapes", gguf([], [tensor(b"\x1b[31m\xff", [8], 1000)], z(64)), '\\x1b[31m\\xff'


CONFIG = {
    "model_type": "qwen3", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 8, "max_position_embeddings": 64, "vocab_size": 4,
    "rms_norm_eps": 1e-6, "rope_theta": 1e6, "hidden_act": "silu", "tie_word_embeddings": True,
}


def container(header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return u64(len(raw) if length is None else length) + raw + data


def entry(shape, begin, end, dtype="BF16"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


EMBED = "model.embed_tokens.weight"
NORM = "model.norm.weight"
GOOD = container({EMBED: entry([4, 8], 0, 64), NORM: entry([8], 64, 80)}, bytes(80))


def safetensors_cases():
    z = bytes
    yield "short", b"\0\0\0", "header length at offset 0: expected 8 bytes, found 3"
    yield "length", container({}, length=HUGE), "header length at offset 0"
    yield "length-0", container({}, length=0), "found 0"
    yield "length-past-end", container({}, length=3), "expected 2 to 2, found 3"
    yield "not-json", container(b"{]}   "), "header: JSON at offset"
    yield "not-object", container(b"[1,2,3]"), "expected a JSON object, found an array of 3"
    yield "trailing", container(b'{} {}'), "header: JSON"
    yield "deep", container(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"), "header: JSON"
    yield "utf8", container(b'{"\xff\xfe": 1}'), "header: JSON"
    yield "twice", container(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                             b'"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', z(8)), '"a" twice'
    yield "field-twice", container(b'{"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}', z(4)), \
        '"dtype" twice'
    yield "entry-type", container({EMBED: [1]}), "expected an object, found an array of 1"
    yield "dtype-missing", container({EMBED: {"shape": [1], "data_offsets": [0, 4]}}, z(4)), "dtype: expected a string"
    for dtype in ("I8", "F64", "F8_E4M3", "bf16"):
        yield f"dtype-{dtype}", container({EMBED: entry([1], 0, 4, dtype)}, z(4)), \
            f'dtype: expected F32, F16 or BF16, found "{dtype}"'
    yield "shape-missing", container({EMBED: {"dtype": "F32", "data_offsets": [0, 4]}}, z(4)), "shape: expected an array"
    yield "shape-negative", container({EMBED: entry([-1], 0, 4)}, z(4)), "one is -1"
    yield "shape-float", container(b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', z(4)), "shape: expected"
    yield "shape-zero", container({EMBED: entry([0, 8], 0, 0)}), "expected dimensions from 1"
    yield "shape-huge", container({EMBED: entry([2**63], 0, 4)}, z(4)), "shape: expected"
    yield "shape-overflow", container({EMBED: entry([2**40, 2**40], 0, 4)}, z(4)), "overflows"
    yield "shape-5", container({EMBED: entry([1] * 5, 0, 2)}, z(2)), "0 to 4 integers"
    yield "offsets-missing", container({EMBED: {"dtype": "F32", "shape": [1]}}, z(4)), "data_offsets: expected"
    yield "offsets-one", container({EMBED: {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, z(4)), "2 to 2 integers"
    yield "offsets-reversed", container({EMBED: entry([2], 4, 0)}, z(4)), "expected begin <= end <= 4, found [4, 0]"
    yield "offsets-outside", container({EMBED: entry([4], 0, 8)}, z(4)), "expected begin <= end <= 4, found [0, 8]"
    yield "offsets-size", container({EMBED: entry([4], 0, 6)}, z(6)), "expected 8 bytes for BF16 [4], found 6"
    yield "overlap", container({EMBED: entry([4], 0, 8), NORM: entry([4], 4, 12)}, z(12)), "overlap"
    yield "hole", container({EMBED: entry([4], 0, 8), NORM: entry([4], 12, 20)}, z(20)), "hole"
    yield "hole-start", container({EMBED: entry([4], 4, 12)}, z(12)), "hole"
    yield "tail", container({EMBED: entry([4], 0, 8)}, z(12)), "expected the last tensor to end the file"
    yield "name-unknown", container({"model.vision.weight": entry([4], 0, 8)}, z(8)), '"model.vision.weight"'
    yield "name-layer", container({"model.layers.1.mlp.up_proj.weight": entry([4], 0, 8)}, z(8)), \
        "model with 1 layers"
    yield "name-layer-zero", container({"model.layers.00.mlp.up_proj.weight": entry([4], 0, 8)}, z(8)), "layers.00"
    yield "name-layer-huge", container({"model.layers.99999999999.mlp.up_proj.weight": entry([4], 0, 8)}, z(8)), \
        "99999999999"


def config_cases():
    def change(**fields):
        return json.dumps({**CONFIG, **fields}).encode()

    def without(key):
        return json.dumps({k: v for k, v in CONFIG.items() if k != key}).encode()

    yield "not-json", b"model_type: qwen3", "config.json: JSON at offset 0"
    yield "not-object", b"[]", "config.json: expected a JSON object"
    yield "deep", b'{"a":' * 100 + b"1" + b"}" * 100, "config.json: JSON"
    yield "twice", b'{"model_type":"qwen3","model_type":"llama"}', '"model_type" twice'
    yield "empty-object", b"{}", "model_type: expected a string, found nothing"
    yield "arch-type", change(model_type=3), "model_type: expected a string, found 3"
    yield "arch-other", change(model_type="mamba"), 'found "mamba"'
    yield "moe", change(num_experts=128), "num_experts: expected a dense model, found 128"
    yield "activation", change(hidden_act="gelu"), 'hidden_act: expected "silu", found "gelu"'
    yield "window", change(use_sliding_window=True, sliding_window=4096), "use_sliding_window: expected false"
    yield "window-layers", change(layer_types=["sliding_attention"]), '"sliding_attention"'
    yield "quantized", change(quantization_config={"bits": 4}), "quantization_config: expected a model in 32 or 16 bits"
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
                "max_position_embeddings"):
        yield f"{key}-missing", without(key), f"{key}: expected an integer from 1 to"
        yield f"{key}-zero", change(**{key: 0}), "found 0"
        yield f"{key}-negative", change(**{key: -5}), f"{key}: expected an integer from 1 to"
        yield f"{key}-huge", change(**{key: 2**62}), "found 4611686018427387904"
        yield f"{key}-text", change(**{key: "8"}), f'{key}: expected an integer from 1 to'
        yield f"{key}-float", change(**{key: 8.5}), f"{key}: expected an integer from 1 to"
    yield "u64", change(hidden_size=2**64 - 1), "hidden_size: expected an integer"
    yield "kv-heads", change(num_attention_heads=4, num_key_value_heads=3), "a divisor of num_attention_heads (4), found 3"
    yield "kv-heads-more", change(num_key_value_heads=4), "a divisor of num_attention_heads (2), found 4"
    yield "head-dim-odd", change(head_dim=3), "head_dim: expected an even number, found 3"
    yield "head-dim-derived", json.dumps({**{k: v for k, v in CONFIG.items() if k != "head_dim"}, "model_type": "llama",
                                          "hidden_size": 9}).encode(), "hidden_size: expected an even multiple"
    yield "epsilon-negative", change(rms_norm_eps=-1e-6), "rms_norm_eps: expected a number"
    yield "epsilon-huge", change(rms_norm_eps=1e300), "rms_norm_eps: expected a number"
    yield "theta-zero", change(rope_theta=0), "rope_theta: expected a number"
    yield "theta-infinite", json.dumps(CONFIG).replace("1000000.0", "1e999").encode(), "config.json"
    yield "rope-type", change(rope_scaling={"rope_type": "dynamic", "factor": 2.0}), 'rope_scaling.rope_type: expected'
    yield "rope-array", change(rope_scaling=[1]), "rope_scaling: expected an object"
    yield "rope-factor", change(rope_scaling={"type": "yarn", "factor": 0.5}), "rope_scaling.factor: expected a number"
    yield "rope-factor-missing", change(rope_scaling={"type": "linear"}), "rope_scaling.factor: expected a number"
    yield "rope-llama3", change(rope_parameters={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                                                 "high_freq_factor": 1.0}), "rope_parameters.high_freq_factor: expected"
    yield "rope-parameters-theta", change(rope_parameters={"rope_theta": -1.0}), "rope_parameters.rope_theta: expected"
    yield "tied-type", change(tie_word_embeddings="yes"), "tie_word_embeddings: expected true or false"
    yield "untied", change(tie_word_embeddings=False), '"lm_head.weight": expected'


def index_cases():
    def index(weight_map):
        return json.dumps({"metadata": {}, "weight_map": weight_map}).encode()

    both = {EMBED: "a.safetensors", NORM: "a.safetensors"}
    yield "no-map", b"{}", "weight_map: expected an object"
    yield "map-type", b'{"weight_map":[]}', "weight_map: expected an object, found an array"
    yield "map-empty", index({}), "weight_map: expected an object"
    yield "twice", (b'{"weight_map":{"model.norm.weight":"a.safetensors","model.norm.weight":"b.safetensors"}}'), "twice"
    for name, shard in (("parent", "../a.safetensors"), ("absolute", "/etc/a.safetensors"), ("folder", "x/a.safetensors"),
                        ("backslash", "..\\a.safetensors"), ("nul", "a\0.safetensors"), ("hidden", ".safetensors"),
                        ("itself", "model.safetensors.index.json"), ("other", "config.json"), ("empty", "")):
        yield f"shard-{name}", index({EMBED: shard}), "expected a plain file name"
    yield "shard-number", index({EMBED: 1}), "expected a plain file name"
    yield "shard-missing", index({**both, "model.layers.0.mlp.up_proj.weight": "gone.safetensors"}), \
        "gone.safetensors: expected tensors in safetensors format, found no such file"
    yield "tensor-missing", index({**both, "model.layers.0.mlp.up_proj.weight": "a.safetensors"}), \
        "expected it in a.safetensors, found no such tensor there"
    yield "tensor-unlisted", index({EMBED: "a.safetensors"}), 'expected an entry for "model.norm.weight"'
    yield "tensor-elsewhere", index({EMBED: "a.safetensors", NORM: "b.safetensors"}), \
        "expected a.safetensors, which holds it, found b.safetensors"


def seeds():
    scalars = [text(f"k{t}") + u32(t) + value for t, value in (
        (U8, b"\1"), (I8, b"\xff"), (U16, b"\1\0"), (I16, b"\1\0"), (U32, u32(7)), (I32, u32(7)), (BOOL, b"\1"),
        (F32, struct.pack("<f", 0.5)), (U64, u64(7)), (I64, u64(7)), (F64, struct.pack("<d", 0.5)))]
    arrays = [text(f"a{t}") + u32(ARRAY) + u32(t) + u64(2) + value for t, value in (
        (U8, b"\1\2"), (BOOL, b"\1\0"), (I32, u32(1) * 2), (F32, bytes(8)), (U64, u64(1) * 2), (F64, bytes(16)),
        (STRING, text("hello") + text("")))]
    tensors = [tensor("token_embd.weight", [8, 2]), tensor("q", [32], 2, 64), tensor("k", [256], 12, 96)]
    yield "gguf/valid.gguf", gguf([ARCH, *scalars, *arrays], tensors, bytes(256))
    yield "gguf/alignment.gguf", gguf([u32_key("general.alignment", 64)], [tensor("a", [8])], bytes(32), align=64)
    yield "gguf/version2.gguf", gguf([ARCH], [], version=2)
    counted = u32(2) + b"".join(u32(len(name)) + name + u32(3) + u32(2) + struct.pack("<ff", 1.5, 6) for name in (b"a.weight", b"b.weight"))
    yield "importance/oldest.dat", counted
    yield "importance/binary.dat", counted + u32(3) + u32(8) + b"text.txt"
    sums = [tensor("a.in_sum2", [2]), tensor("a.counts", [1], 0, 32)]
    datasets = text("imatrix.datasets") + u32(ARRAY) + u32(STRING) + u64(1) + text("text.txt")
    keys = [string_key("general.type", "imatrix"), datasets, u32_key("imatrix.chunk_count", 3), u32_key("imatrix.chunk_size", 512)]
    yield "importance/imatrix.gguf", gguf(keys, sums, struct.pack("<ff24xf28x", 1.5, 6, 3))
    yield "safetensors/valid.safetensors", GOOD
    yield "safetensors/metadata.safetensors", container({"__metadata__": {"format": "pt"}, "a": entry([], 0, 2)}, bytes(2))
    base = json.dumps(CONFIG).encode()
    yield "hf_config/qwen3.json", base
    yield "hf_config/generation.json", base + b'\0{"do_sample":true,"temperature":0.7,"top_k":20,"top_p":0.8,"min_p":0}'
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "attention_factor": 1.0,
            "beta_fast": 32, "beta_slow": 1}
    yield "hf_config/yarn.json", json.dumps({**CONFIG, "model_type": "qwen2", "rope_scaling": yarn}).encode()
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 5e5}
    yield "hf_config/llama3.json", json.dumps({**CONFIG, "model_type": "llama", "rope_parameters": llama3}).encode()
    yield "hf_config/index.json", json.dumps({"weight_map": {EMBED: "a-1.safetensors", NORM: "a-2.safetensors"}}).encode()
    yield from checkpoint_seeds()
    yield from tokenizer_seeds()
    yield from request_seeds()
    yield from answer_seeds()


def checkpoint_seeds():
    """Models of one layer, of shapes as small as the converter takes, see fuzz/convert_fuzzer.cc; the length chooses the type that they are converted to."""
    shapes = {"token_embd.weight": [32, 4], "output_norm.weight": [32], "blk.0.attn_norm.weight": [32], "blk.0.ffn_norm.weight": [32]}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        shapes[f"blk.0.{name}.weight"] = [32, 4]
    keys = [ARCH, *(u32_key(f"qwen3.{key}", value) for key, value in (
        ("block_count", 1), ("embedding_length", 32), ("feed_forward_length", 32), ("attention.head_count", 2),
        ("attention.head_count_kv", 1), ("attention.key_length", 16), ("context_length", 64)))]
    tensors, position = [], 0
    for number, (name, dims) in enumerate(shapes.items()):
        dtype, size = (1, 2) if len(dims) == 2 and number % 2 else (0, 4)
        tensors.append(tensor(name, dims, dtype, position))
        position += (size * math.prod(dims) + 31) // 32 * 32
    for length in range(6):
        yield f"convert/qwen3-{length}.gguf", gguf(keys, tensors, bytes(range(0, 60)) * (position // 60 + 1) + bytes(length))
    header, position = {}, 0
    names = {"model.embed_tokens.weight": [4, 16], "model.norm.weight": [16]}
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
        names[f"model.layers.0.{name}.weight"] = [16, 16]
    for name, shape in names.items():
        header[name] = entry(shape, position, position + 2 * math.prod(shape))
        position += 2 * math.prod(shape)
    config = {**CONFIG, "model_type": "llama", "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2,
              "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 4}
    for spaces in range(2):
        yield f"convert/llama-{spaces}", json.dumps(config).encode() + b" " * spaces + b"\0" + container(header, bytes(position))


def tokenizer_seeds():
    alphabet = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    merges = ["a b", "ab b", "\u0120 a", "h e", "l l", "he ll"]
    words = alphabet + [m.replace(" ", "") for m in merges]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "behavior": "Isolated", "invert": False,
             "pattern": {"Regex": "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"}}
    added = [{"id": len(words) + i, "content": content, "single_word": i == 1, "lstrip": i == 2, "rstrip": i == 2,
              "normalized": i == 1, "special": i == 0} for i, content in enumerate(("<x>", "caf\u00e9", " <y> "))]
    qwen = {"version": "1.0", "added_tokens": added, "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}, "post_processor": byte_level,
            "decoder": byte_level, "model": {"type": "BPE", "vocab": {w: i for i, w in enumerate(words)}, "merges": merges}}
    digits = {"type": "Digits", "individual_digits": True}
    smol = {**qwen, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, {**byte_level, "use_regex": True}]},
            "model": {**qwen["model"], "merges": [m.split(" ") for m in merges], "ignore_merges": True}}
    config = {"bos_token": "<x>", "eos_token": {"content": "<x>"}, "add_bos_token": True, "chat_template": "{{ messages }}",
              "additional_special_tokens": ["<x>"], "model_max_length": 64}
    for name, tokenizer in (("qwen", qwen), ("smollm", smol)):
        parts = [json.dumps(tokenizer, ensure_ascii=False), json.dumps(config), "hello cafe\u0301 <x> 12 \u4f60\u597d  it's"]
        yield f"tokenizer_json/{name}", "\0".join(parts).encode()


def answer_seeds():
    """The first byte chooses the endpoint, see fuzz/http_answer_fuzzer.cc."""
    def response(body, status="200 OK", kind="text/event-stream", chunked=False):
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        body = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n" if chunked else body
        return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nRetry-After: 2\r\n{framing}\r\n\r\n{body}".encode()

    def events(*chunks):
        return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"

    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}}
    chat = events({"choices": [{"delta": {"content": "Hi"}, "finish_reason": None}]},
                  {"choices": [{"delta": {}, "finish_reason": "stop"}]}, usage)
    text = events({"choices": [{"text": "Hi", "finish_reason": "length"}]}, usage)
    yield "http_answer/chat", b"\0" + response(chat, chunked=True)
    yield "http_answer/completion", b"\1" + response(": ping\r\n\r\n" + text)
    yield "http_answer/refusal", b"\0" + response('{"error": {"message": "full"}}', "503 Busy", "application/json")
    yield "http_answer/error_event", b"\0" + response(events({"error": {"message": "broken"}}))


def request_seeds():
    """The first byte chooses the parser, see fuzz/http_request_fuzzer.cc."""
    weather = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Ulm\"}"}}
    chat = {"model": "m", "messages": [
        {"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "hi \u00e9"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": "5"}],
        "tools": [weather], "tool_choice": "auto", "stream": True, "stream_options": {"include_usage": True}, "n": 2,
        "temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.1, "seed": 7, "stop": ["a", "b"], "max_tokens": 9,
        "logprobs": True, "top_logprobs": 3, "logit_bias": {"5": -1.5}, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "chat_template_kwargs": {"enable_thinking": False}, "response_format": {"type": "text"}}
    completion = {"prompt": ["a", "b"], "echo": True, "suffix": "", "best_of": 1, "stop": "x"}
    yield "http_request/chat", b"\0" + json.dumps(chat).encode()
    yield "http_request/completion", b"\1" + json.dumps(completion).encode()
    yield "http_request/token_ids", b'\1{"prompt": [[1, 2], [3]], "max_tokens": 1}'
    yield "http_request/target", b"\2/v1/models/a%20b?q=c+%2F&r"
    yield "http_request/stream", (b'\3<think>\nwhy</think>\n\nso <tool_call>\n{"name": "weather", "arguments": '
                                  b'{"city": "Ulm"}}\n</tool_call> done')
    yield "http_request/json", b'\4{"a": [1, -2.5e3, true, null, "\\ud83d\\ude00\\n"], "b": {}}'


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    out = root / "tests/hostile/formats"
    shutil.rmtree(out, ignore_errors=True)
    expected = []

    def put(path, data):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(data)

    def case(path, words):
        assert "\t" not in words and "\n" not in words
        expected.append(f"{path}\t{words}\n")

    good_config = json.dumps(CONFIG).encode()
    for name, data, words in gguf_cases():
        put(f"gguf/{name}.gguf", data)
        case(f"gguf/{name}.gguf", words)
    for name, data, words in safetensors_cases():
        put(f"safetensors/{name}/model.safetensors", data)
        put(f"safetensors/{name}/config.json", good_config)
        case(f"safetensors/{name}", words)
    for name, data, words in config_cases():
        put(f"config/{name}/config.json", data)
        put(f"config/{name}/model.safetensors", GOOD)
        case(f"config/{name}", words)
    for name, data, words in index_cases():
        put(f"index/{name}/model.safetensors.index.json", data)
        put(f"index/{name}/config.json", good_config)
        put(f"index/{name}/a.safetensors", GOOD)
        if name == "tensor-elsewhere":
            put(f"index/{name}/b.safetensors", container({"model.layers.0.mlp.up_proj.weight": entry([4], 0, 8)}, bytes(8)))
        case(f"index/{name}", words)
    put("folder/no-config/model.safetensors", GOOD)
    case("folder/no-config", "config.json: expected the config of a Hugging Face model, found no such file")
    put("folder/no-weights/config.json", good_config)
    case("folder/no-weights", "expected model.safetensors or model.safetensors.index.json, found neither")
    put("folder/generation/config.json", good_config)
    put("folder/generation/generation_config.json", b'{"temperature": 1,}')
    put("folder/generation/model.safetensors", GOOD)
    case("folder/generation", "generation_config.json: JSON at offset")
    (out / "expected.tsv").write_text("".join(expected))
    for name, data in seeds():
        path = root / "fuzz/seeds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
