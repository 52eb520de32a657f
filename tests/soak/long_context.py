"""One prompt as long as the context, with all of its keys and values in memory, and with half of them on disk.

The answers must be the same, and memory must stay within the plan, purpose by purpose. How the time grows is reported: two
shorter prompts tell what a token costs and what a pair of tokens costs, which predicts the long one.
"""
import asyncio
import json
import random
import subprocess
import tempfile
import time

import client
import harness

DEFAULT_TOKENS = 8192
PARTS = 8, 4  # of the whole prompt: the shorter ones
ANSWER = 16
WHOLE_PAGES = 16 << 10  # by which what is resident may exceed what is used
CACHE = "kv_running", "kv_cached", "kv_free_resident"  # the first has the plan of all
SPILL_FOLDER = harness.ROOT / "build"  # on a disk, which a temporary folder may not be


def inspect(options, *arguments):
    words = [options.program, "inspect", options.model, "--json", *map(str, arguments)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def plan_of(options, context):
    """What serving takes at most: purpose to bytes, and all together."""
    memory = inspect(options, "--context", context)["memory"]
    return {name: of["planned"] for name, of in memory["purposes"].items()}, memory["planned"]


async def ask(server, prompt):
    """The answer, seconds to its first token, seconds between its tokens."""
    times, began = [], time.monotonic()
    body = {"prompt": prompt, "max_tokens": ANSWER, "temperature": 0, "ignore_eos": True, "stream": True}
    answer = await client.ask(server.port, body, limit=4 * 3600, times=times)
    first = times[0] - began if times else 0.0
    return answer, first, harness.quantile(answer.gaps(), 0.5)


def predict(lengths, seconds, tokens):
    """t = a * n + b * n^2 through two points, at `tokens`."""
    (m, n), (s, t) = lengths, seconds
    b = (t / n - s / m) / (n - m)
    return (s / m - b * m) * tokens + b * tokens * tokens


async def check_memory(server, report, name):
    _, text = await client.get(server.port, "/props")
    memory = json.loads(text)["memory"]
    for purpose, of in memory["purposes"].items():
        if purpose not in CACHE[1:]:
            actual = sum(memory["purposes"][p]["actual"] for p in (CACHE if purpose == CACHE[0] else [purpose]))
            report.check(actual <= of["planned"] + WHOLE_PAGES, f"{name}: {purpose} takes {actual} bytes, {of['planned']} were planned")
    report.check(memory["resident"] <= memory["budget"], f"{name}: {memory['resident']} bytes are resident, the budget is {memory['budget']}")
    return memory["resident"]


def serve(options, report, name, arguments, prompts):
    """Asks the prompts in turn; the answer to the last, and the time that each took to its first token."""
    with harness.Server(options, "--sequences", 1, "--queue", 1, "--prefix-cache", "off", *arguments) as server:
        async def load():
            seconds = []
            for prompt in prompts:
                answer, first, gap = await ask(server, prompt)
                report.check(answer.kind == "answer", f"{name}: {answer}")
                seconds.append(first)
                resident = await check_memory(server, report, name)
            m = await server.metrics()
            figures = {"first_token_s": round(seconds[-1], 2), "between_ms": round(gap * 1e3, 1), "resident_mb": round(resident / 1e6)}
            if m.get("spill_written_total"):
                figures |= {"pages_written": int(m["spill_written_total"]), "read_mb": round(m["spill_read_bytes_total"] / 1e6), "waited_s": round(m["spill_wait_seconds_total"], 2)}
            report.say(**{name: figures})
            return answer, seconds
        result = asyncio.run(load())
        server.stop(report)
        return result


def run(options, report):
    draws = random.Random(options.seed)
    facts = inspect(options)
    context = min((options.prompt_tokens or DEFAULT_TOKENS) + ANSWER, facts["trained_context"])
    tokens = context - ANSWER
    purposes, planned = plan_of(options, context)
    prompt = harness.tokens_of(draws, tokens)
    report.say(tokens=tokens, planned_mb=round(planned / 1e6), kv_mb=round(purposes["kv_running"] / 1e6))
    shorter = [prompt[:tokens // part] for part in PARTS]
    whole, seconds = serve(options, report, "in memory", ["--context", context], [*shorter, prompt])
    report.say(predicted_first_token_s=round(predict([len(p) for p in shorter], seconds[:2], tokens), 2))
    with tempfile.TemporaryDirectory(dir=SPILL_FOLDER) as folder:
        # Half of the cache, and what spilling itself needs: images of two layers.
        memory = planned - purposes["kv_running"] // 2 + purposes["kv_running"] // facts["layers"]
        arguments = ["--context", context, "--memory", memory, "--spill-size", purposes["kv_running"] * 2, "--spill-folder", folder]
        spilled, _ = serve(options, report, "half on disk", arguments, [prompt])
    report.check(report.figures["half on disk"].get("pages_written", 0) > 0, "nothing was written to disk")
    report.check(harness.same_answer(whole, spilled), f"another answer with pages on disk: {whole}, {spilled}")
