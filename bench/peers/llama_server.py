#!/usr/bin/env python3
"""llama.cpp's own HTTP server out of the package xllamacpp, as llama-server would run it: prints its URL, ends with its standard input."""
import argparse
import sys

import xllamacpp


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=1, help="slots")
    parser.add_argument("--context", type=int, default=4096, help="tokens of each slot")
    parser.add_argument("--threads", type=int, default=1)
    o = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = o.model
    params.port = o.port
    params.n_parallel = o.parallel
    params.n_ctx = o.parallel * o.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = o.threads
    params.verbosity = 1
    server = xllamacpp.Server(params)
    print(xllamacpp.get_system_info(), file=sys.stderr)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
