"""A 16-bit GGUF file with Gaussian noise on its matrices, so that values which were rounded once lose the lattice they lie on.

SmolLM2 is at hand in Q4_1 only; Q4_1 of it would be without loss, and types near it almost so. SHARE is of the root mean square of each matrix.
The seed is fixed: the same file each time. Needs gguf and numpy.
"""
import argparse
import pathlib
import shutil

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path, help="of `inkstone compress MODEL -o FILE --type F16`")
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("--share", type=float, default=0.04, help="default: %(default)s")
    args = parser.parse_args()
    random = np.random.default_rng(1)
    shutil.copyfile(args.source, args.target)
    for tensor in GGUFReader(args.target, "r+").tensors:
        if len(tensor.shape) < 2:
            continue
        if tensor.tensor_type != GGMLQuantizationType.F16:
            raise SystemExit(f"{args.source}: tensor '{tensor.name}': expected F16, found {tensor.tensor_type.name}")
        values = tensor.data.astype(np.float32)
        deviation = args.share * float(np.sqrt(np.mean(np.square(values))))
        tensor.data[:] = values + deviation * random.standard_normal(values.shape, np.float32)


if __name__ == "__main__":
    main()
