#!/usr/bin/env python3
"""Measures OpenVINO GenAI as `inkstone bench` measures Inkstone, and prints the same JSON. Needs the package openvino-genai.

Usage: openvino_bench.py MODEL.gguf [-p 512] [-n 32] [--depth 0] [--threads 2] [--cpu avx2] [--kv q8_0]
"""
import json
import os
import random

from generation import Peer, measure, parse_options, resident_bytes

ISA = {"avx2": "AVX2", "avx512vnni": "AVX512_CORE_BF16"}  # for oneDNN; the second has VNNI, and bf16 where the CPU has it, but no AMX
CACHE_TYPES = {"f16": "f16", "q8_0": "u8"}


class OpenVino(Peer):
    def __init__(self, o):
        import numpy
        import openvino
        import openvino_genai
        self.numpy, self.openvino, self.genai = numpy, openvino, openvino_genai
        self.pipeline = openvino_genai.LLMPipeline(o.model, "CPU", INFERENCE_NUM_THREADS=o.threads, KV_CACHE_PRECISION=CACHE_TYPES[o.kv])
        self.vocab_size = len(self.pipeline.get_tokenizer().get_vocab())

    def generate(self, prompt, count):
        ids = self.numpy.array([[random.randrange(self.vocab_size) for _ in range(prompt)]], dtype=self.numpy.int64)
        inputs = self.genai.TokenizedInputs(self.openvino.Tensor(ids), self.openvino.Tensor(self.numpy.ones_like(ids)))
        config = self.genai.GenerationConfig(max_new_tokens=count, ignore_eos=True, do_sample=False)
        metrics = self.pipeline.generate(inputs, config).perf_metrics
        assert metrics.get_num_input_tokens() == prompt and metrics.get_num_generated_tokens() == count
        first = metrics.get_ttft().mean / 1000
        return first, metrics.get_generate_duration().mean / 1000 - first


def main():
    o = parse_options(__doc__)
    if o.cpu:
        os.environ["ONEDNN_MAX_CPU_ISA"] = ISA[o.cpu]
    before = resident_bytes()
    print(json.dumps(measure(lambda: OpenVino(o), o, before)))


if __name__ == "__main__":
    main()
