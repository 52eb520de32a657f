"""The command line as DESIGN names it: what every command prints, its exit status, and its memory.

Environment: INKSTONE names the program, SMOLLM2 a GGUF of SmolLM2-135M-Instruct.
"""
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
INKSTONE = os.environ["INKSTONE"]
SMOLLM2 = os.environ["SMOLLM2"]
TINY = str(ROOT / "tests/data/tiny-qwen3")


def run(*args, text=None, **kwargs):
    return subprocess.run([INKSTONE, *map(str, args)], input=text, capture_output=True, text=True, timeout=300, **kwargs)


class CliTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        self.addCleanup(self.folder.cleanup)

    def ok(self, *args, **kwargs):
        result = run(*args, **kwargs)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def compressed(self, kind):
        path = self.path / f"tiny-{kind}.gguf"
        self.ok("compress", TINY, "-o", path, "--type", kind)
        return path

    def test_usage_errors_exit_with_2(self):
        for args in [[], ["nonsense"], ["run"], ["logits", TINY], ["logits", TINY, "--tokens", "x"], ["bench", TINY, "-n", "0"],
                     ["bench", TINY, "--cpu", "pentium"], ["bench", TINY, "--pin", "yes"], ["compress", TINY, "-o", "x", "--type", "Q9"], ["compress", TINY, "-o", "x", "--preset", "tiny"]]:
            with self.subTest(args):
                result = run(*args)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertNotEqual(result.stderr, "")

    def test_failures_exit_with_1_and_one_line(self):
        (self.path / "bad.gguf").write_bytes(b"GGUF\3\0\0\0" + b"\xff" * 64)
        for args in [["inspect", "/no/such/model"], ["inspect", self.path / "bad.gguf"], ["logits", TINY, "--tokens", "99999"],
                     ["run", TINY, "-p", "x", "--context", "99999999"], ["run", TINY, "-p", "x", "--pin", "on", "--threads", "1024"],
                     ["compress", TINY, "-o", "/no/such/folder/x.gguf", "--type", "F16"]]:
            with self.subTest(args):
                result = run(*args)
                self.assertEqual(result.returncode, 1, result.stdout)
                self.assertEqual(len(result.stderr.strip().splitlines()), 1, result.stderr)

    def test_help_has_examples(self):
        for command in ["serve", "run", "compress", "inspect", "eval", "bench", "tokenize", "logits", "synth"]:
            self.assertIn("Example", self.ok(command, "--help"), command)

    def test_tokenize_goes_both_ways(self):
        text = "Grüße, 世界! <|im_end|> 🙂\n"
        tokens = json.loads(self.ok("tokenize", TINY, text=text))["tokens"]
        self.assertIn(6137, tokens)
        self.assertNotIn(6137, json.loads(self.ok("tokenize", TINY, "--plain", text=text))["tokens"])
        self.assertEqual(self.ok("tokenize", TINY, "--decode", text=json.dumps(tokens)), text)

    def test_logits_of_last_and_all(self):
        rows = json.loads(self.ok("logits", TINY, "--tokens", "5,6,7", "--all"))["logits"]
        last = json.loads(self.ok("logits", TINY, "--tokens", "5,6,7"))["logits"]
        self.assertEqual((len(rows), len(rows[0])), (3, 6144))
        self.assertLess(max(abs(a - b) for a, b in zip(rows[2], last)), 1e-3)

    def test_eval_sees_what_quantization_costs(self):
        text = self.path / "text.txt"
        text.write_text((ROOT / "README.md").read_text() + (ROOT / "README.zh.md").read_text())
        results = {kind: json.loads(self.ok("eval", self.compressed(kind), "--text", text, "--reference", TINY, "--context", "256", "--json"))
                   for kind in ["BF16", "Q8_0", "Q4_0"]}
        self.assertLess(results["BF16"]["kld_mean"], 1e-5)
        self.assertLess(results["BF16"]["kld_mean"], results["Q8_0"]["kld_mean"])
        self.assertLess(results["Q8_0"]["kld_mean"], 0.002)
        self.assertGreater(results["Q4_0"]["kld_mean"], 5 * results["Q8_0"]["kld_mean"])
        self.assertGreater(results["BF16"]["top1_agree"], 0.99)
        self.assertEqual(results["BF16"]["tokens"], results["Q4_0"]["tokens"])

    def test_run_is_reproducible_and_independent_of_threads(self):
        first = self.ok("run", SMOLLM2, "-p", "Name three colours.", "-n", 24, "--temp", 0, "--threads", 1)
        second = self.ok("run", SMOLLM2, "-p", "Name three colours.", "-n", 24, "--temp", 0, "--threads", 2)
        self.assertEqual(first, second)
        self.assertGreater(len(first), 10)
        seeded = [self.ok("run", SMOLLM2, "-p", "Tell me a story.", "-n", 24, "--temp", 1, "--seed", 5) for _ in range(2)]
        self.assertEqual(*seeded)

    def test_a_small_model_answers_sensibly(self):
        self.assertIn("Paris", self.ok("run", SMOLLM2, "-p", "What is the capital of France? Answer in one sentence.", "-n", 40, "--temp", 0))

    def test_interactive_chat_keeps_the_conversation_until_new(self):
        def last_line(text):
            return self.ok("run", SMOLLM2, "--temp", 0, "-n", 16, text=text).splitlines()[-1]
        alone = last_line("What is my name?\n/exit\n")
        self.assertNotEqual(last_line("My name is Ada.\nWhat is my name?\n/exit\n"), alone)
        self.assertEqual(last_line("My name is Ada.\n/new\nWhat is my name?\n"), alone)

    def test_compress_shrinks_and_reports(self):
        report = json.loads(self.ok("compress", TINY, "-o", self.path / "q8.gguf", "--preset", "int8", "--json"))
        self.assertLess(report["file_bytes"], 0.57 * 13_385_416)
        self.assertEqual(report["file_bytes"], (self.path / "q8.gguf").stat().st_size)
        self.assertEqual(os.listdir(self.path), ["q8.gguf"])

    def test_synth_and_bench(self):
        self.ok("synth", "--shape", "qwen3-tiny", "--out", self.path / "synth")
        result = json.loads(self.ok("bench", self.path / "synth", "-p", 64, "-n", 8, "--repeat", 1, "--json"))
        for key in ["prefill_tps", "decode_tps", "rss_bytes", "load_ms", "read_gbs", "read_limit_gbs"]:
            self.assertGreater(result[key], 0, key)

    def test_threads_keep_to_the_affinity_mask_and_are_pinned_when_they_take_it_all(self):
        def bench(*options, cpus=os.sched_getaffinity(0)):
            return json.loads(self.ok("bench", TINY, "-p", 8, "-n", 2, "--repeat", 1, "--json", *options, preexec_fn=lambda: os.sched_setaffinity(0, cpus)))
        whole = bench()
        self.assertLessEqual(whole["threads"], len(os.sched_getaffinity(0)))
        for options, pinned in [(("--pin", "on", "--threads", 1), True), (("--pin", "off"), False), (("--threads", len(os.sched_getaffinity(0)) + 1), False)]:
            self.assertEqual(bench(*options)["pinned"], pinned, options)
        self.assertEqual(bench(cpus={max(os.sched_getaffinity(0))})["threads"], 1)

    def test_a_memory_limit_is_respected_or_refused(self):
        result = run("run", SMOLLM2, "-p", "x", "-n", 4, "--memory", "150MB")
        self.assertEqual(result.returncode, 1)
        self.assertIn("memory", result.stderr.lower() + " memory" if "available" in result.stderr else result.stderr)
        limit = 1_500_000_000
        self.ok("run", SMOLLM2, "-p", "x", "-n", 4, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))

    def test_fast_arithmetic_costs_little(self):
        """Every target and phase against plain f32 arithmetic on the same weights."""
        text = self.path / "text.txt"
        text.write_text((ROOT / "CONTRIBUTING.md").read_text() + (ROOT / "README.zh.md").read_text())
        phases = [(target, phase) for target in ["avx2", "avx512vnni", "amx"] for phase in [[], ["--decode"]]]
        cases = [(self.compressed(kind), 256, limit, phases) for kind, limit in {"F16": 1e-6, "Q8_0": 5e-5, "Q4_0": 5e-5}.items()]
        cases.append((SMOLLM2, 96, 5e-4, [("avx2", []), ("amx", []), ("amx", ["--decode"])]))  # channels that dwarf the others
        measured = 0
        for model, context, limit, ways in cases:
            for target, phase in ways:
                result = run("eval", model, "--text", text, "--json", "--cpu", target, "--reference", model, "--reference-cpu", "ref",
                             "--windows", 1, "--context", context, *phase)
                if result.returncode != 0:
                    self.assertIn("this CPU lacks it", result.stderr)
                    continue
                self.assertLess(json.loads(result.stdout)["kld_mean"], limit, (model, target, phase))
                measured += 1
        self.assertGreater(measured, 0)


if __name__ == "__main__":
    unittest.main()
