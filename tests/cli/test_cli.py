"""The command line as DESIGN names it: what every command prints, its exit status, and its memory.

Environment: INKSTONE names the program, SMOLLM2 a GGUF of SmolLM2-135M-Instruct.
"""
import json
import math
import os
import pathlib
import resource
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.request
import xml.etree.ElementTree

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TEXTS = ROOT / "src/compress/calibration"  # that no change of a document changes
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

    def test_compress_for_a_size(self):
        with tempfile.TemporaryDirectory() as folder:
            text, out, page = (os.path.join(folder, name) for name in ("text.txt", "out.gguf", "report.html"))
            pathlib.Path(text).write_text((TEXTS / "english_architecture.txt").read_text()[:6000])
            report = json.loads(run("compress", TINY, "-o", out, "--size", "4.4MB", "--calibration", text, "--calibration-tokens", "1024",
                                    "--keep", "blk.0.attn_v=Q8_0", "--report", page, "--json").stdout)
            self.assertLessEqual(report["file_bytes"], 4_400_000)
            self.assertGreaterEqual(report["file_bytes"], 4_400_000 * 0.995)
            self.assertEqual(os.path.getsize(out), report["file_bytes"])
            self.assertEqual(next(t["type"] for t in report["tensors"] if t["name"] == "blk.0.attn_v.weight"), "Q8_0")
            self.assertIn("sensitivity", json.loads(run("inspect", out, "--json").stdout))
            quality = json.loads(run("eval", out, "--reference", TINY, "--text", str(TEXTS / "english_measurements.txt"), "--json").stdout)
            self.assertLess(quality["kld_mean"], 0.05)
            self.assertIn("Answers side by side", pathlib.Path(page).read_text())

    def test_pruned_model_runs(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.gguf")
            report = json.loads(run("compress", TINY, "-o", out, "--type", "Q8_0", "--prune", "1", "--prune-loss", "50", "--calibration-tokens", "512",
                                    "--no-feedback", "--json").stdout)
            self.assertEqual(len(report["pruned_layers"]), 1)
            self.assertGreater(report["prune_loss"], 0)
            self.assertEqual(len(json.loads(run("logits", out, "--tokens", "1,2,3").stdout)["logits"]), 6144)
            refused = run("compress", TINY, "-o", out, "--type", "Q8_0", "--prune", "5", "--prune-loss", "0.0001", "--calibration-tokens", "512")
            self.assertEqual(refused.returncode, 1)
            self.assertIn("above the limit", refused.stderr)

    def test_usage_errors_exit_with_2(self):
        for args in [[], ["nonsense"], ["run"], ["logits", TINY], ["logits", TINY, "--tokens", "x"], ["bench", TINY, "-n", "0"],
                     ["bench", TINY, "--cpu", "pentium"], ["bench", TINY, "--pin", "yes"], ["bench", TINY, "--kv-type", "bf16"], ["eval", TINY, "--text", __file__, "--kv-type", "q8_0/"], ["serve"], ["serve", TINY, "--profile", "huge"], ["serve", TINY, "--context-policy", "rounds=0"],
                     ["run", TINY, "-p", "x", "--context", "some"], ["eval", "--text", __file__], ["eval", "--compare", TINY, "--text", __file__],
                     ["compress", TINY, "-o", "x", "--type", "Q9"], ["compress", TINY, "-o", "x", "--preset", "tiny"],
                     ["compress", TINY, "--type", "Q8_0"], ["compress", TINY, "-o", "x", "--type", "Q8_0", "--keep", "attn_q"],
                     ["compress", TINY, "-o", "x", "--type", "Q8_0", "--keep", "(=Q8_0"], ["compress", TINY, "-o", "x", "--pure", "--preset", "int8"],
                     ["compress", TINY, "-o", "x", "--type", "Q8_0", "--dry-run", "--resume"]]:
            with self.subTest(args):
                result = run(*args)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertNotEqual(result.stderr, "")

    def test_failures_exit_with_1_and_one_line(self):
        (self.path / "bad.gguf").write_bytes(b"GGUF\3\0\0\0" + b"\xff" * 64)
        for args in [["inspect", "/no/such/model"], ["inspect", self.path / "bad.gguf"], ["logits", TINY, "--tokens", "99999"],
                     ["run", TINY, "-p", "x", "--context", "99999999"], ["run", TINY, "-p", "x", "--pin", "on", "--threads", "1024"],
                     ["compress", TINY, "-o", "/no/such/folder/x.gguf", "--type", "F16"],
                     ["compress", TINY, "-o", self.path / "x.gguf", "--type", "F16", "--resume"],
                     ["compress", TINY, "-o", self.path / "x.gguf", "--type", "F16", "--imatrix", self.path / "bad.gguf"],
                     ["compress", TINY, "-o", self.path / "x.gguf", "--type", "F16", "--keep", "no_such_tensor=F32"]]:
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

    def test_tokenize_needs_only_a_tokenizer(self):
        shutil.copy(f"{TINY}/tokenizer.json", self.path)
        self.assertEqual(self.ok("tokenize", self.path, text="Hello"), self.ok("tokenize", TINY, text="Hello"))

    def test_outputs_replace_only_regular_files(self):
        pipe, link, target = self.path / "pipe", self.path / "link.gguf", self.path / "target.gguf"
        os.mkfifo(pipe)
        text = self.path / "text.txt"
        text.write_text("The history of printing begins with the stone.\n" * 20)
        out = self.path / "x.gguf"
        for args in [["compress", TINY, "-o", pipe, "--type", "Q8_0"], ["compress", TINY, "-o", out, "--type", "Q8_0", "--report", pipe],
                     ["compress", TINY, "-o", out, "--type", "Q8_0", "--calibration", text, "--save-imatrix", pipe],
                     ["eval", "--compare", TINY, "--reference", TINY, "--text", text, "--plot", pipe]]:
            with self.subTest(args):
                result = run(*args)
                self.assertEqual(result.returncode, 1, result.stdout)
                self.assertIn("a named pipe", result.stderr)
                self.assertTrue(pipe.is_fifo())
                self.assertFalse(out.exists())
        link.symlink_to("target.gguf")
        self.ok("compress", TINY, "-o", link, "--type", "Q8_0")
        self.assertTrue(link.is_symlink())
        self.assertTrue(target.is_file() and not target.is_symlink())
        refused = run("compress", target, "-o", self.path / "y.gguf", "--type", "Q4_0", "--report", target)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("is of the source", refused.stderr)

    def test_what_a_model_says_does_not_reach_the_terminal_raw(self):
        folder = self.path / "model\x1b[2J\u202e"
        folder.mkdir()
        result = run("inspect", folder)
        self.assertEqual(result.returncode, 1)
        self.assertIn("\\x1b[2J\\u{202e}", result.stderr)
        self.assertNotIn("\x1b", result.stderr)

    def test_logits_of_last_and_all(self):
        rows = json.loads(self.ok("logits", TINY, "--tokens", "5,6,7", "--all"))["logits"]
        last = json.loads(self.ok("logits", TINY, "--tokens", "5,6,7"))["logits"]
        self.assertEqual((len(rows), len(rows[0])), (3, 6144))
        self.assertLess(max(abs(a - b) for a, b in zip(rows[2], last)), 1e-3)

    def test_eval_sees_what_quantization_costs(self):
        text = self.path / "text.txt"
        text.write_text((TEXTS / "english_manual.txt").read_text() + (TEXTS / "chinese_manual.txt").read_text())
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

    def test_a_long_chat_drops_its_oldest_rounds_and_says_so(self):
        lines = "".join(f"Tell me something about the number {i}.\n" for i in range(8))
        chat = run("run", TINY, "--temp", 0, "-n", 16, "--context", 128, text=lines)
        self.assertEqual(chat.returncode, 0, chat.stderr)
        self.assertIn("older messages", chat.stderr)
        self.assertNotIn("the context holds", chat.stderr)
        rejecting = run("run", TINY, "--temp", 0, "-n", 16, "--context", 128, "--context-policy", "reject", text=lines)
        self.assertIn("the context holds 128", rejecting.stderr)
        self.assertNotIn("older messages", rejecting.stderr)

    def test_a_raw_prompt_is_cut_only_when_asked(self):
        args = ["run", TINY, "--raw", "-p", "ink " * 300, "-n", 8, "--temp", 0, "--context", 64, "--json"]
        self.assertEqual(run(*args).returncode, 1)
        cut = json.loads(self.ok(*args, "--context-policy", "window"))
        self.assertEqual(cut["prompt_tokens"], 64 - 8)
        self.assertGreater(cut["dropped_tokens"], 200)
        self.assertIn("no rounds", run(*args, "--context-policy", "rounds=2").stderr)

    def test_profiles_are_printed(self):
        profiles = json.loads(self.ok("serve", "--print-profile", "all", "--json"))["profiles"]
        self.assertEqual([p["name"] for p in profiles], ["single", "multi", "longdoc"])
        self.assertEqual([p["sequences"] for p in profiles][0], 1)
        self.assertIn("--context max", self.ok("serve", "--print-profile", "longdoc"))

    def test_compress_shrinks_and_reports(self):
        report = json.loads(self.ok("compress", TINY, "-o", self.path / "q8.gguf", "--preset", "int8", "--json"))
        self.assertLess(report["file_bytes"], 0.57 * 13_385_416)
        self.assertEqual(report["file_bytes"], (self.path / "q8.gguf").stat().st_size)
        self.assertEqual(os.listdir(self.path), ["q8.gguf"])

    def test_compress_keeps_what_it_is_told_to(self):
        path = self.path / "mixed.gguf"
        report = json.loads(self.ok("compress", TINY, "-o", path, "--type", "q4_0", "--keep", "attn_.*=Q8_0", "--keep", r"blk\.0\.attn_v=F16", "--json"))
        types = {t["name"]: t["type"] for t in json.loads(self.ok("inspect", path, "--json"))["tensors"]}
        self.assertEqual(types, {t["name"]: t["type"] for t in report["tensors"]})
        self.assertEqual([types[f"blk.{n}.weight"] for n in ["0.attn_v", "1.attn_v", "0.ffn_up", "0.ffn_norm"]], ["F16", "Q8_0", "Q4_0", "F32"])
        self.assertEqual(sum(t["bytes"] for t in report["types"]), report["tensor_bytes"])

    def test_compress_dry_run_writes_nothing_and_is_right(self):
        args = ["compress", TINY, "--type", "Q8_0"]
        dry = json.loads(self.ok(*args, "--dry-run", "--json"))
        table = self.ok(*args, "--dry-run", "-o", self.path / "x.gguf")
        self.assertIn("ffn_down.weight", table)
        self.assertEqual(os.listdir(self.path), [])
        real = json.loads(self.ok(*args, "-o", self.path / "x.gguf", "--json"))
        self.assertEqual({**real, "dry_run": True, "output": ""}, dry)
        self.assertEqual(dry["file_bytes"], (self.path / "x.gguf").stat().st_size)
        mixture = json.loads(self.ok("compress", TINY, "--type", "q4_k_m", "--dry-run", "--json"))
        self.assertEqual((mixture["file_type"], mixture["groups"][0]["kind"], mixture["groups"][0]["type"]), (15, "token_embd.weight", "Q6_K"))
        fallbacks = json.loads(self.ok("compress", SMOLLM2, "--type", "Q4_K", "--pure", "--dry-run", "--json"))["fallbacks"]
        self.assertIn({"tensor": "blk.0.attn_q.weight", "wanted": "Q4_K", "used": "Q5_0"}, fallbacks)

    def test_compress_reads_importance_in_both_forms(self):
        tensors = json.loads(self.ok("inspect", TINY, "--json"))["tensors"]
        matrices = {t["name"]: t["shape"][1] for t in tensors if len(t["shape"]) == 2 and t["name"].startswith("blk.")}
        old = self.path / "imatrix.dat"
        entries = b"".join(struct.pack("<i", len(n)) + n.encode() + struct.pack("<ii", 5, c) + np.arange(c, dtype="<f4").tobytes() for n, c in matrices.items())
        old.write_bytes(struct.pack("<i", len(matrices)) + entries + struct.pack("<ii", 5, 8) + b"text.txt")
        new = self.path / "imatrix.gguf"
        writer = gguf.GGUFWriter(new, "")  # as llama-imatrix does
        writer.add_type("imatrix")
        writer.add_array("imatrix.datasets", ["text.txt"])
        writer.add_uint32("imatrix.chunk_count", 5)
        writer.add_uint32("imatrix.chunk_size", 512)
        for name, columns in matrices.items():
            writer.add_tensor(name + ".in_sum2", 512 * np.arange(columns, dtype=np.float32).reshape(1, -1))
            writer.add_tensor(name + ".counts", np.full((1, 1), 5 * 512, dtype=np.float32))
        for step in [writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close]:
            step()
        results = []
        for imatrix in [old, new]:
            self.ok("compress", TINY, "-o", self.path / "out.gguf", "--type", "Q4_0", "--imatrix", imatrix)
            results.append((self.path / "out.gguf").read_bytes())
        self.assertEqual(*results)
        other = run("compress", SMOLLM2, "-o", self.path / "out.gguf", "--type", "Q4_0", "--imatrix", new)
        self.assertEqual(other.returncode, 1)
        self.assertRegex(other.stderr, r"imatrix.gguf: entry of tensor 'blk\.0\.\w+\.weight': expected \d+ columns, found \d+")

    def test_a_killed_compress_resumes(self):
        whole, path = self.path / "whole.gguf", self.path / "out.gguf"
        self.ok("compress", SMOLLM2, "-o", whole, "--type", "F32")
        args = ["compress", SMOLLM2, "-o", path, "--type", "F32"]
        process = subprocess.Popen([INKSTONE, *map(str, args)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        journal = self.path / "out.gguf.part.json"
        while process.poll() is None and not (journal.exists() and json.loads(journal.read_text())["complete_tensors"]):
            time.sleep(0.001)
        process.kill()
        process.wait()
        self.assertFalse(path.exists())
        self.assertIn("--resume", run(*args[:-1], "F16", "--resume").stderr)
        report = json.loads(self.ok(*args, "--resume", "--json"))
        self.assertGreater(report["resumed_bytes"], 0)
        self.assertEqual(path.read_bytes(), whole.read_bytes())
        self.assertEqual(sorted(os.listdir(self.path)), ["out.gguf", "whole.gguf"])

    def calibration(self, characters=800):
        text = self.path / "calibration.txt"
        text.write_text((TEXTS / "english_architecture.txt").read_text()[:characters])
        return ["--calibration", text]

    def test_a_calibrated_compress_survives_kills_at_any_moment(self):
        """Whatever stage a kill meets, the run that is at last left alone writes the bytes of an undisturbed one."""
        whole, path = self.path / "whole.gguf", self.path / "out.gguf"
        options = ["--preset", "deep", *self.calibration()]
        start = time.monotonic()
        self.ok("compress", TINY, "-o", whole, *options)
        duration = time.monotonic() - start
        random, kills = np.random.default_rng(1), 0
        for attempt in range(20):
            resume = ["--resume"] if (self.path / "out.gguf.part.calibration").exists() else []
            process = subprocess.Popen([INKSTONE, *map(str, ["compress", TINY, "-o", path, *options, *resume])], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                process.wait(random.uniform(0, duration) if kills < 3 else None)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            error = process.communicate()[1].decode()
            if process.returncode != -9:
                self.assertEqual(process.returncode, 0, error)
                self.assertEqual(path.read_bytes(), whole.read_bytes())
                self.assertEqual(sorted(os.listdir(self.path)), ["calibration.txt", "out.gguf", "whole.gguf"])
                path.unlink()
            if kills == 3 and process.returncode == 0:
                return
        self.fail(f"{kills} kills in 20 runs")

    def test_compress_meets_sizes_from_below(self):
        options = [*self.calibration(), "--no-feedback", "--json"]
        for size in [3_000_000, 12_000_000]:
            report = json.loads(self.ok("compress", TINY, "-o", self.path / "out.gguf", "--size", size, *options))
            self.assertLessEqual((self.path / "out.gguf").stat().st_size, size)
            self.assertGreaterEqual(report["file_bytes"], 0.995 * size)
        refused = run("compress", TINY, "-o", self.path / "small.gguf", "--size", "2MB", *options)
        self.assertEqual(refused.returncode, 1)
        self.assertRegex(refused.stderr, r"a file of 2\.00 MB is too small: .* are the least that this model can have")
        self.assertEqual(sorted(os.listdir(self.path)), ["calibration.txt", "out.gguf"])

    def test_compress_keeps_the_metadata_of_a_gguf_file(self):
        def fields(path):
            return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items() if not name.startswith("GGUF.")}
        source = fields(SMOLLM2)
        self.assertIn("tokenizer.chat_template", source)
        self.assertIn("general.license", source)
        self.ok("compress", SMOLLM2, "-o", self.path / "out.gguf", "--type", "F16", *self.calibration())
        result = fields(self.path / "out.gguf")
        added = [key for key in result if key not in source]
        self.assertTrue(added and all(key.startswith("inkstone.calibration.") for key in added), added)
        self.assertEqual({key: result[key] for key in source}, source | {"general.file_type": 1})

    def test_compress_prunes_within_a_loss(self):
        def prune(source, *options):
            return run("compress", source, "-o", self.path / "out.gguf", "--type", "F16", *self.calibration(1500), *options)
        refused = prune(TINY, "--prune", 4)
        self.assertEqual(refused.returncode, 1)
        self.assertRegex(refused.stderr, r"without \d layers? the perplexity grows by [\d.]+ %, above the limit of 10\.0 %.*remove fewer")
        self.assertEqual(os.listdir(self.path), ["calibration.txt"])
        self.assertIn("at most 5", prune(TINY, "--prune", 6, "--prune-loss", 100).stderr)
        report = json.loads(prune(TINY, "--prune", "auto", "--prune-loss", 0.4, "--json").stdout)
        self.assertEqual(json.loads(self.ok("inspect", self.path / "out.gguf", "--json"))["layers"], 6 - len(report["pruned_layers"]))
        self.assertLessEqual(report["prune_loss"], 0.4)
        told = prune(SMOLLM2, "--prune", 2, "--prune-loss", 5)
        self.assertRegex(told.stdout, r"2 layers removed: perplexity of the sample from [\d.]+ to [\d.]+ \(\+[\d.]+ %\) before rounding")
        self.ok("run", self.path / "out.gguf", "--raw", "-p", "The", "-n", 4)

    def test_a_source_that_cannot_be_read_is_named(self):
        copy = self.path / "copy"
        shutil.copytree(TINY, copy)
        shard = copy / "model.safetensors"
        whole = shard.read_bytes()

        def refused(words):
            for options in [["--type", "Q4_0"], ["--preset", "deep", *self.calibration()]]:
                result = run("compress", copy, "-o", self.path / "out.gguf", *options)
                self.assertEqual(result.returncode, 1)
                self.assertIn(words, result.stderr)
            self.assertEqual(sorted(os.listdir(self.path)), ["calibration.txt", "copy"])
        shard.write_bytes(whole[:len(whole) // 2])
        refused('copy/model.safetensors: tensor "model.')
        shard.unlink()
        shard.symlink_to("nowhere")
        refused("copy: expected model.safetensors")
        shard.unlink()
        header = int.from_bytes(whole[:8], "little")
        begin, end = json.loads(whole[8:8 + header])["model.layers.1.mlp.up_proj.weight"]["data_offsets"]
        at = 8 + header + begin + (end - begin) // 2
        shard.write_bytes(whole[:at] + b"\xc0\x7f" + whole[at + 2:])  # NaN in BF16
        refused("tensor 'blk.1.ffn_up.weight': found nan at index")

    def test_synth_and_bench(self):
        self.ok("synth", "--shape", "qwen3-tiny", "--out", self.path / "synth")
        result = json.loads(self.ok("bench", self.path / "synth", "-p", 64, "-n", 8, "--repeat", 1, "--json"))
        for key in ["prefill_tps", "decode_tps", "rss_bytes", "load_ms", "read_gbs", "read_limit_gbs"]:
            self.assertGreater(result[key], 0, key)

    def test_keys_and_values_have_types_of_their_own(self):
        for name, shown in [("f16", "F16"), ("Q8_0", "Q8_0"), ("q8_0/q4_0", "Q8_0/Q4_0"), ("F16/q8_0", "F16/Q8_0")]:
            with self.subTest(name):
                result = json.loads(self.ok("bench", TINY, "-p", 8, "-n", 2, "--repeat", 1, "--json", "--kv-type", name))
                self.assertEqual(result["kv_type"], shown)
        facts = json.loads(self.ok("inspect", TINY, "--context", 4096, "--kv-type", "q8_0/q4_0", "--json"))
        self.assertEqual(facts["kv_type"], "Q8_0/Q4_0")
        per_token = facts["layers"] * facts["kv_heads"] * facts["head_dim"]
        self.assertEqual(facts["kv_bytes"], 4096 * per_token * (36 + 18) // 32)
        self.assertEqual(facts["kv_bytes_f16"], 4096 * per_token * 4)
        self.assertEqual(facts["kv_bytes_q4_0"], 4096 * per_token * 36 // 32)
        self.assertIn("tokens in Q8_0/Q4_0 ", self.ok("inspect", TINY, "--kv-type", "q8_0/q4_0"))

    def test_inspect_plans_as_serving_does(self):
        def purposes(*options):
            memory = json.loads(self.ok("inspect", TINY, "--context", 4096, "--json", *options))["memory"]
            return {name: of["planned"] for name, of in memory["purposes"].items()} | {"planned": memory["planned"], "available": memory["available"]}
        one, four = purposes(), purposes("--sequences", 4)
        self.assertEqual(four["kv_running"], 4 * one["kv_running"])
        window = purposes("--attention-window", 512)
        self.assertLess(window["kv_running"], one["kv_running"] / 2)
        little = one["planned"] - one["kv_running"] // 4
        refused = run("inspect", TINY, "--context", 4096, "--memory", little)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("would fit: a context of at most", refused.stderr)
        self.assertNotIn("about 0 B", refused.stderr)
        spilled = purposes("--memory", little, "--spill-size", "1GB")
        self.assertEqual(spilled["available"], little)
        self.assertLess(spilled["kv_running"], one["kv_running"])
        self.assertGreater(spilled["spill_buffers"], 0)

    def test_threads_keep_to_the_affinity_mask_and_are_pinned_when_they_take_it_all(self):
        def bench(*options, cpus=os.sched_getaffinity(0)):
            return json.loads(self.ok("bench", TINY, "-p", 8, "-n", 2, "--repeat", 1, "--json", *options, preexec_fn=lambda: os.sched_setaffinity(0, cpus)))
        whole = bench()
        self.assertLessEqual(whole["threads"], len(os.sched_getaffinity(0)))
        for options, pinned in [(("--pin", "on", "--threads", 1), True), (("--pin", "off"), False), (("--threads", len(os.sched_getaffinity(0)) + 1), False)]:
            self.assertEqual(bench(*options)["pinned"], pinned, options)
        self.assertEqual(bench(cpus={max(os.sched_getaffinity(0))})["threads"], 1)

    def test_load_options_are_checked(self):
        url = "http://127.0.0.1:9"
        for args, words in [(["--url", url, TINY], "MODEL"), (["--url", url, "-n", 5], "model in this process"), ([TINY, "--clients", 2], "needs --url"),
                            (["--url", "https://localhost"], "https is not supported"), (["--url", "localhost:80"], "http://"), ([], "MODEL"),
                            (["--url", url, "--clients", 2, "--rate", 3], "excludes"), (["--url", url, "--prompt-tokens", "9:3"], "64:2000"),
                            (["--url", url, "--duration", "soon"], "60s")]:
            with self.subTest(args):
                result = run("bench", *args)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(words, result.stderr)
        refused = run("bench", "--url", url, "--requests", 2, "--clients", 2)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("all 2 requests failed, the first with: connect", refused.stderr)
        self.assertIn("2 failed", refused.stdout)

    def test_whoever_reads_the_log_may_go_away(self):
        with subprocess.Popen([INKSTONE, "serve", TINY, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
            try:
                url = server.stdout.readline().split()[-1]
                server.stderr.close()
                for _ in range(3):  # each a line of the log
                    with urllib.request.urlopen(url + "health", timeout=30) as answer:
                        self.assertEqual(answer.status, 200)
                server.terminate()
                self.assertEqual(server.wait(30), 0)
            finally:
                server.kill()

    def test_load_on_a_server(self):
        plot = self.path / "load.svg"
        with subprocess.Popen([INKSTONE, "serve", TINY, "--port", "0", "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            try:
                url = server.stdout.readline().split()[-1]
                load = ["bench", "--url", url, "--prompt-tokens", "8:64", "--max-tokens", 12, "--ignore-eos"]
                report = json.loads(self.ok(*load, "--clients", 4, "--requests", 10, "--shared-prefix", 40, "--plot", plot, "--json"))
                opened = json.loads(self.ok(*load, "--rate", 40, "--requests", 10, "--endpoint", "completions", "--slo-ttft", "1m", "--json"))
                table = self.ok(*load, "--requests", 4, "--disconnect", 1)
            finally:
                server.terminate()
        self.assertEqual(report["requests"]["answered"], 10)
        self.assertEqual(report["output_tokens"], 120)
        self.assertGreater(report["prompt_tokens"], 10 * 48)
        self.assertEqual(report["requests"]["without_usage"], 0)
        self.assertGreaterEqual(report["end_to_end_s"]["p50"], report["first_token_s"]["p50"])
        self.assertTrue(xml.etree.ElementTree.parse(plot).getroot().tag.endswith("svg"))
        self.assertEqual(opened["requests"]["answered"], 10)
        self.assertEqual(opened["goodput"]["requests"], 10)
        self.assertIn("0 failed", table)

    def test_a_memory_limit_is_respected_or_refused(self):
        result = run("run", SMOLLM2, "-p", "x", "-n", 4, "--memory", "150MB")
        self.assertEqual(result.returncode, 1)
        self.assertIn("memory", result.stderr.lower() + " memory" if "available" in result.stderr else result.stderr)
        limit = 1_500_000_000
        self.ok("run", SMOLLM2, "-p", "x", "-n", 4, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))

    def test_fast_arithmetic_costs_little(self):
        """Every target and phase against plain f32 arithmetic on the same weights."""
        text = self.path / "text.txt"
        text.write_text((ROOT / "CONTRIBUTING.md").read_text() + (TEXTS / "chinese_manual.txt").read_text())
        phases = [(target, phase) for target in ["avx2", "avx512vnni", "amx"] for phase in [[], ["--decode"]]]
        cases = [(self.compressed(kind), 256, limit, phases) for kind, limit in {"F16": 1e-6, "Q8_0": 5e-5, "Q4_0": 3e-4, "Q4_K_M": 3e-4, "Q6_K": 3e-4}.items()]
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

    def eval_texts(self):
        first, second = self.path / "first.txt", self.path / "second.txt"
        first.write_text((TEXTS / "english_manual.txt").read_text())
        second.write_text((TEXTS / "chinese_manual.txt").read_text()[:2000])
        return ["--text", first, "--text", second, "--context", "128"]

    def test_eval_agrees_with_the_definitions(self):
        text = self.path / "text.txt"
        text.write_text((TEXTS / "english_manual.txt").read_text()[:600])
        model = self.compressed("Q4_0")
        result = json.loads(self.ok("eval", model, "--text", text, "--reference", TINY, "--kv-type", "f32", "--context", 64, "--windows", 1, "--json"))
        tokens = json.loads(self.ok("tokenize", TINY, text=text.read_text()))["tokens"][:64]

        def log_probabilities(path):
            rows = json.loads(self.ok("logits", path, "--tokens", ",".join(map(str, tokens)), "--all"))["logits"]
            sums = [math.log(sum(math.exp(x) for x in row)) for row in rows]
            return [[v - total for v in row] for row, total in zip(rows[:-1], sums)]
        p, q = log_probabilities(TINY), log_probabilities(model)
        kl = [sum(math.exp(a) * (a - b) for a, b in zip(*rows)) for rows in zip(p, q)]
        loss = [-row[t] for row, t in zip(q, tokens[1:])]
        difference = [a + row[t] for a, row, t in zip(loss, p, tokens[1:])]
        error = {name: statistics.stdev(v) / len(v) ** 0.5 for name, v in [("kl", kl), ("loss", loss), ("difference", difference)]}
        perplexity, ratio = math.exp(statistics.mean(loss)), math.exp(statistics.mean(difference))
        same = statistics.mean(a.index(max(a)) == b.index(max(b)) for a, b in zip(p, q))
        for key, expected in {"tokens": 63, "perplexity": perplexity, "perplexity_error": perplexity * error["loss"], "kld_mean": statistics.mean(kl),
                              "kld_error": error["kl"], "kld_median": statistics.median(kl), "perplexity_ratio": ratio,
                              "perplexity_ratio_error": ratio * error["difference"], "top1_agree": same}.items():
            self.assertAlmostEqual(result[key] / expected, 1, delta=5e-3, msg=key)

    def test_eval_of_several_texts_is_their_weighted_mean(self):
        result = json.loads(self.ok("eval", self.compressed("Q4_0"), *self.eval_texts(), "--reference", TINY, "--json"))
        self.assertEqual([pathlib.Path(t["text"]).name for t in result["texts"]], ["first.txt", "second.txt"])
        self.assertEqual(sum(t["tokens"] for t in result["texts"]), result["tokens"])
        for key in ["loss", "kld_mean", "top1_agree"]:
            self.assertAlmostEqual(sum(t[key] * t["tokens"] for t in result["texts"]) / result["tokens"], result[key], places=10)

    def test_eval_compares_models_and_keeps_the_references_logits(self):
        texts = self.eval_texts()
        models = [self.compressed(kind) for kind in ["Q8_0", "Q4_0"]]
        logits, plot = self.path / "reference.logits", self.path / "plot.svg"
        keep = ["--reference-logits", logits]
        compared = json.loads(self.ok("eval", "--compare", *models, "--reference", TINY, *texts, *keep, "--plot", plot, "--json"))
        self.assertEqual(compared["reference"]["model"], "tiny-qwen3")
        self.assertEqual([m["model"] for m in compared["models"]], ["tiny-Q4_0.gguf", "tiny-Q8_0.gguf"])  # by size
        self.assertIn("tiny-Q8_0", "".join(xml.etree.ElementTree.parse(plot).getroot().itertext()))
        for path, of_comparison in zip(reversed(models), compared["models"]):
            beside = json.loads(self.ok("eval", path, "--reference", TINY, *texts, "--json"))
            self.assertEqual(json.loads(self.ok("eval", path, *texts, *keep, "--json")), of_comparison)  # without the reference
            self.assertAlmostEqual(beside["kld_mean"], of_comparison["kld_mean"], delta=1e-7)
            self.assertAlmostEqual(beside["reference_perplexity"], of_comparison["reference_perplexity"], places=9)
        before = sorted(os.listdir(self.path))
        self.assertIn("ratio", self.ok("eval", "--compare", *models, "--reference", TINY, *texts))  # by a temporary file
        self.assertEqual(sorted(os.listdir(self.path)), before)
        self.assertIn("number of windows", run("eval", models[0], *texts[:2], *texts[4:], *keep).stderr)
        self.assertIn("another model", run("eval", models[0], *texts, *keep, "--reference", models[1]).stderr)
        with open(logits, "r+b") as file:
            file.truncate(100_000)
        self.assertEqual(run("eval", models[0], *texts, *keep).returncode, 1)

    def test_eval_continues_killed_recordings(self):
        texts = ["--text", TEXTS / "english_architecture.txt", "--text", TEXTS / "english_manual.txt", "--context", 64]
        whole, killed = self.path / "whole.logits", self.path / "killed.logits"
        command = ["eval", TINY, *texts, "--reference", TINY, "--reference-logits"]
        self.ok(*command, whole)
        process = subprocess.Popen([INKSTONE, *map(str, command), str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (killed.exists() and killed.stat().st_size > 2_000_000):
            time.sleep(0.001)
        process.kill()
        process.wait()
        self.ok(*command, killed)
        self.assertTrue(killed.read_bytes() == whole.read_bytes())


if __name__ == "__main__":
    unittest.main()
