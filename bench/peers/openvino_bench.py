#!/usr/bin/env python3
"""Measures OpenVINO GenAI as `inkstone bench` measures Inkstone, and prints the same JSON. Needs the package openvino-genai.

Usage: openvino_bench.py MODEL.gguf [-p 512] [-n 32] [--depth 0] [--threads 2] [--cpu avx2] [--kv q8_0]
"""
import os
import random

from generation import Peer, parse_options, report

ISA = {"avx2": "AVX2", "avx512vnni": "AVX512_CORE_BF16"}  # for oneDNN; the second has VNNI, and bf16 where the CPU has it, but no AMX
# What OpenVINO chooses on a CPU that has no more than AVX2. Confined to it on another CPU it would choose by that CPU, and fail.
AVX2 = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
CACHE_TYPES = {"f16": "f16", "q8_0": "u8"}


class OpenVino(Peer):
    compiles = True

    def __init__(self, o):
        import numpy
        import openvino
        import openvino_genai
        self.numpy, self.openvino, self.genai = numpy, openvino, openvino_genai
        settings = {"INFERENCE_NUM_THREADS": o.threads, "KV_CACHE_PRECISION": CACHE_TYPES[o.kv], **(AVX2 if o.cpu == "avx2" else {})}
        self.pipeline = openvino_genai.LLMPipeline(o.model, "CPU", **settings)
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
    report(lambda: OpenVino(o), o)


if __name__ == "__main__":
    main()
