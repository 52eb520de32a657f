"""llama.cpp through the bindings of a build of llama-cpp-python (build_llama_cpp.py): just what measuring speed needs.

`load(folder)` first; then this module has the same `lib`, `Llama` and `quantize` as llama_cpp.py has for the prebuilt library.
"""
import ctypes
import sys

CACHE_TYPES = {"f16": 1, "q8_0": 8}  # ggml_type
lib = None
_quiet = None


def load(folder, verbose=False):
    """Without `verbose`, llama.cpp's log is dropped."""
    global lib, _quiet
    sys.path.insert(0, str(folder))
    from llama_cpp import llama_cpp
    lib = llama_cpp

    def write(level, text, data):
        if verbose:
            print(text.decode(errors="replace"), end="", file=sys.stderr)

    _quiet = lib.llama_log_callback(write)  # kept, as llama.cpp calls it
    lib.llama_log_set(_quiet, ctypes.c_void_p(0))
    lib.llama_backend_init()


def version():
    return lib.llama_version().decode()


class Llama:
    """One model with one sequence, keys and values of type `kv`, everything else llama.cpp's default: mapped file, repacked weights, attention of its choice."""

    def __init__(self, path, context, threads, kv):
        self.model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self.vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        params = lib.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = params.n_ubatch = min(context, 512)
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = CACHE_TYPES[kv]
        self.context = lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError(f"llama.cpp cannot make a context for {path}")

    def decode(self, tokens, position):
        batch = lib.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for i, token in enumerate(tokens):
                batch.token[i] = token
                batch.pos[i] = position + i
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = i == len(tokens) - 1
            if lib.llama_decode(self.context, batch) != 0:
                raise RuntimeError("llama_decode failed")
        finally:
            lib.llama_batch_free(batch)


def quantize(source, target, file_type):
    params = lib.llama_model_quantize_default_params()
    params.ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{file_type}")
    if lib.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) != 0:
        raise RuntimeError(f"llama.cpp cannot quantize {source} to {file_type}")
