"""llama.cpp's C API: just what comparisons of numbers and of speed need.

The declarations come from the PyPI package llama-cpp-py-sync, the library from the npm package @node-llama-cpp/linux-x64
(LLAMA_CPP names the folder with its .so files), which has a build for each generation of x86 CPUs. LLAMA_CPP_CPU names one of
them, such as haswell; default: the best that this CPU runs.
"""
import ctypes
import os

import numpy as np
from llama_cpp_py_sync._cffi_bindings import ffi

FOLDER = os.environ["LLAMA_CPP"]
VERSION = "v0.5.0"


def _load_kernels(generation):
    ggml = ctypes.CDLL(f"{FOLDER}/libggml.{VERSION}.so")
    if not generation:
        ggml.ggml_backend_load_all_from_path(FOLDER.encode())
        return
    ggml.ggml_backend_load.restype = ctypes.c_void_p
    if not ggml.ggml_backend_load(f"{FOLDER}/libggml-cpu-{generation}.so".encode()):
        raise RuntimeError(f"llama.cpp has no kernels for '{generation}' that this CPU runs")


_load_kernels(os.environ.get("LLAMA_CPP_CPU"))
lib = ffi.dlopen(f"{FOLDER}/libllama.{VERSION}.so")


@ffi.callback("void(enum ggml_log_level, const char *, void *)")
def _quiet(level, text, data):
    pass


lib.llama_log_set(_quiet, ffi.NULL)
lib.llama_backend_init()


CACHE_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}  # ggml_type


class Llama:
    """One model with one sequence. `exact`: keys and values in f32 and plain attention, to compare arithmetic and not rounding.

    Otherwise keys and values are of type `kv`, and llama.cpp chooses the attention.
    """

    def __init__(self, path, context=512, threads=2, exact=True, kv="f16"):
        params = lib.llama_model_default_params()
        self.model = lib.llama_model_load_from_file(str(path).encode(), params)
        if self.model == ffi.NULL:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.vocab_size = lib.llama_vocab_n_tokens(self.vocab)
        cparams = lib.llama_context_default_params()
        cparams.n_ctx = context
        cparams.n_batch = cparams.n_ubatch = min(context, 512)
        cparams.n_threads = cparams.n_threads_batch = threads
        cparams.type_k = cparams.type_v = CACHE_TYPES["f32" if exact else kv]
        if exact:
            cparams.flash_attn_type = 0
        self.context = lib.llama_init_from_model(self.model, cparams)
        if self.context == ffi.NULL:
            raise RuntimeError(f"llama.cpp cannot make a context for {path}")

    def close(self):
        lib.llama_free(self.context)
        lib.llama_model_free(self.model)

    def tokenize(self, text, special=True):
        data = text.encode()
        out = ffi.new("llama_token[]", len(data) + 16)
        count = lib.llama_tokenize(self.vocab, data, len(data), out, len(data) + 16, False, special)
        return [out[i] for i in range(count)]

    def decode(self, tokens, position, all_logits):
        batch = lib.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for i, token in enumerate(tokens):
                batch.token[i] = token
                batch.pos[i] = position + i
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = 1 if all_logits or i == len(tokens) - 1 else 0
            if lib.llama_decode(self.context, batch) != 0:
                raise RuntimeError("llama_decode failed")
        finally:
            lib.llama_batch_free(batch)

    def _row(self, index):
        pointer = lib.llama_get_logits_ith(self.context, index)
        return np.frombuffer(ffi.buffer(pointer, self.vocab_size * 4), dtype=np.float32).copy()

    def clear(self):
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)

    def logits(self, tokens):
        """(len(tokens), vocabulary) float32."""
        self.clear()
        self.decode(tokens, 0, True)
        return np.stack([self._row(i) for i in range(len(tokens))])

    def greedy(self, tokens, count):
        """`count` likeliest next tokens, one after the other."""
        self.clear()
        self.decode(tokens, 0, False)
        out = []
        for i in range(count):
            out.append(int(self._row(-1).argmax()))
            self.decode([out[-1]], len(tokens) + i, False)
        return out


FILE_TYPES = {  # llama_ftype
    "F32": 0, "F16": 1, "BF16": 32, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14,
    "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30,
}


def _importance(path):
    """The array that llama.cpp's quantizer takes, from a GGUF imatrix file, and what must stay alive with it."""
    from gguf import GGUFReader
    tensors = {t.name: t.data.reshape(-1) for t in GGUFReader(str(path)).tensors}
    alive, entries = [], []
    for name, sums in tensors.items():
        if not name.endswith(".in_sum2"):
            continue
        stem = name.removesuffix(".in_sum2")
        values = np.ascontiguousarray(sums / tensors[stem + ".counts"][0], dtype=np.float32)
        text = ffi.new("char[]", stem.encode())
        alive += [values, text]
        entries.append((text, ffi.cast("float *", values.ctypes.data), values.size))
    array = ffi.new("struct llama_model_imatrix_data[]", len(entries) + 1)  # the last one, all zero, ends it
    for i, (text, data, size) in enumerate(entries):
        array[i].name, array[i].data, array[i].size = text, data, size
    return array, alive


def quantize(source, target, file_type, imatrix=None):
    """`imatrix`: a GGUF file of column weights, or None."""
    params = ffi.new("llama_model_quantize_params *", lib.llama_model_quantize_default_params())
    params.nthread = 2
    params.ftype = FILE_TYPES[file_type]
    if imatrix is not None:
        importance, _alive = _importance(imatrix)
        params.imatrix = importance
    if lib.llama_model_quantize(str(source).encode(), str(target).encode(), params) != 0:
        raise RuntimeError(f"llama.cpp cannot quantize {source} to {file_type}")
