"""Divergence from the 16-bit model at equal file size: Inkstone beside llama.cpp's llama_model_quantize with importance.

For every named mixture llama.cpp makes its file, with column weights that were measured on the calibration text; Inkstone then gets
exactly that file's size to spend, calibrated on the same text. Both are measured by `inkstone eval` on a text that neither has seen.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench/peers"))
from llama_cpp import quantize  # noqa: E402  (after the path to it)


def inkstone(program, *args):
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"inkstone {' '.join(map(str, args))}\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="16-bit model: a Hugging Face folder or a GGUF file")
    parser.add_argument("--text", type=pathlib.Path, required=True, help="unseen text to measure on")
    parser.add_argument("--calibration", type=pathlib.Path, help="text to calibrate both on; default: Inkstone's own")
    parser.add_argument("--mixtures", default="Q3_K_M,Q4_K_M,Q5_K_M", help="default: %(default)s")
    parser.add_argument("--windows", type=int, default=0, help="of 512 tokens to measure on; default: all")
    parser.add_argument("--program", default=os.environ.get("INKSTONE", ROOT / "build/release/bin/inkstone"))
    parser.add_argument("--option", action="append", default=[], help="handed to `inkstone compress`, such as --option=--no-feedback")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    args = parser.parse_args()

    calibration = ["--calibration", args.calibration] if args.calibration else ["--calibration", "default"]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        f16, imatrix = path / "f16.gguf", path / "importance.gguf"
        inkstone(args.program, "compress", args.model, "-o", f16, "--type", "F16", "--json")
        inkstone(args.program, "compress", f16, "-o", path / "q8.gguf", "--type", "Q8_0", "--no-feedback", *calibration,
                 "--save-imatrix", imatrix, "--json")
        print("| size of | MB | llama.cpp KL | Inkstone KL | ratio | perplexity, llama.cpp | Inkstone | 16 bits |\n|---|---|---|---|---|---|---|---|", flush=True)
        for mixture in args.mixtures.split(","):
            theirs, ours = path / "theirs.gguf", path / "ours.gguf"
            quantize(f16, theirs, mixture, imatrix)
            size = theirs.stat().st_size
            inkstone(args.program, "compress", f16, "-o", ours, "--size", size, *calibration, *args.option, "--json")
            if ours.stat().st_size > size:
                raise SystemExit(f"{mixture}: {ours.stat().st_size} bytes, expected at most {size}")
            pair = [inkstone(args.program, "eval", m, "--reference", f16, "--text", args.text, "--windows", args.windows, "--json")
                    for m in (theirs, ours)]
            ratio = pair[1]["kld_mean"] / pair[0]["kld_mean"]
            print(f"| {mixture} | {size / 1e6:.1f} | {pair[0]['kld_mean']:.5f} | {pair[1]['kld_mean']:.5f} | **{ratio:.2f}** | "
                  f"{pair[0]['perplexity']:.4f} | {pair[1]['perplexity']:.4f} | {pair[0]['reference_perplexity']:.4f} |", flush=True)
            results.append({"mixture": mixture, "bytes": size, "our_bytes": ours.stat().st_size, "llama_cpp": pair[0], "inkstone": pair[1], "ratio": ratio})
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
