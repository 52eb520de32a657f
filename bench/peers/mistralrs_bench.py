#!/usr/bin/env python3
"""Measures mistral.rs as `inkstone bench` measures Inkstone, and prints the same JSON. Needs the package mistralrs.

Usage: mistralrs_bench.py MODEL.gguf [-p 512] [-n 32] [--depth 0] [--threads 2] [--cpu avx2]
"""
import os
import random
import string
import sys

from build_llama_cpp import cpu_flags
from generation import Peer, parse_options, report


class MistralRs(Peer):
    def __init__(self, o):
        import mistralrs
        self.api = mistralrs
        folder, name = os.path.split(os.path.abspath(o.model))
        which = mistralrs.Which.GGUF(quantized_model_id=folder, quantized_filename=name)
        self.runner = mistralrs.Runner(which=which, max_seqs=1, prefix_cache_n=0, token_source="none")

    def generate(self, prompt, count):
        text = "".join(random.choices(string.digits, k=prompt))  # one token each for the tokenizers of Qwen
        usage = self.runner.send_completion_request(self.api.CompletionRequest(
            model="default", prompt=text, max_tokens=count, temperature=0.0, ignore_eos=True)).usage
        if (usage.prompt_tokens, usage.completion_tokens) != (prompt, count):
            raise RuntimeError(f"asked for {prompt} and {count} tokens, got {usage.prompt_tokens} and {usage.completion_tokens}")
        return usage.total_prompt_time_sec, usage.total_completion_time_sec


def main():
    o = parse_options(__doc__)
    if o.kv != "f16":
        sys.exit(f"mistral.rs keeps keys and values in f16, not in {o.kv}")
    if o.cpu == "avx512vnni" and "amx_int8" in cpu_flags():
        sys.exit("mistral.rs has no setting for AVX512-VNNI without AMX")
    os.environ["RAYON_NUM_THREADS"] = os.environ["CANDLE_NUM_THREADS"] = str(o.threads)
    if o.cpu == "avx2":
        os.environ["MISTRALRS_FORCE_AVX2"] = "1"
    report(lambda: MistralRs(o), o)


if __name__ == "__main__":
    main()
