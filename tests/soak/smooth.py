"""How a running stream's tokens come while somebody else's long prompt is computed, against a quiet server."""
import asyncio
import json
import random
import time

import client
import harness

STREAM = 128  # tokens; a longer one would slow itself down
TARGET, BOUND = 1.5, 6.0  # of the 95th percentile; the bound is for a busy machine


async def stream(server, draws, tokens, times):
    body = {"prompt": harness.tokens_of(draws, 20), "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True, "user": "reader"}
    return await client.ask(server.port, body, limit=600, times=times)


def gaps_of(times):
    return [b - a for a, b in zip(times, times[1:])]


async def context_of(server):
    _, text = await client.get(server.port, "/props")
    return int(json.loads(text)["n_ctx"])


async def gaps_beside_prompt(server, draws, report, prompt_tokens):
    """Between the pieces of short streams, one after the other, while another client's prompt is computed."""
    ended = []

    async def long_prompt():
        answer = await client.ask(server.port, {"prompt": harness.tokens_of(draws, prompt_tokens), "max_tokens": 1, "temperature": 0, "user": "writer"}, limit=900)
        report.check(answer.kind == "answer", f"the long prompt: {answer}")
        ended.append(time.monotonic())

    other, gaps = asyncio.create_task(long_prompt()), []
    while not other.done():
        times = []
        answer = await stream(server, draws, STREAM, times)
        report.check(answer.kind == "answer", f"a stream beside the prompt: {answer}")
        gaps += gaps_of([t for t in times if not ended or t <= ended[0]])
    await other
    return gaps


def run(options, report):
    draws = random.Random(options.seed)
    with harness.Server(options, "--sequences", 2, "--context", "max", "--prefix-cache", "off") as server:
        async def load():
            prompt_tokens = min(8192, context - 64)
            quiet, beside = [], []
            for _ in range(1 if options.short else 5):
                times = []
                answer = await stream(server, draws, STREAM, times)
                report.check(answer.kind == "answer", f"the quiet stream: {answer}")
                quiet += gaps_of(times)
                beside += await gaps_beside_prompt(server, draws, report, prompt_tokens)
            return prompt_tokens, quiet, beside
        context = asyncio.run(context_of(server))
        # So that what the cache takes is resident before it is watched.
        asyncio.run(client.ask(server.port, {"prompt": harness.tokens_of(draws, context - 64), "max_tokens": 1}, limit=900))
        prompt_tokens, quiet, beside = asyncio.run(harness.under_load(server, report, options, load))
        a, b = harness.quantile(quiet, 0.95), harness.quantile(beside, 0.95)
        report.say(prompt_tokens=prompt_tokens, gaps_beside=len(beside), quiet_p95_ms=round(a * 1e3, 2), beside_p95_ms=round(b * 1e3, 2), ratio=round(b / a, 2), target=TARGET)
        report.check(len(beside) >= 10, f"only {len(beside)} gaps beside the prompt")
        report.check(b <= a * BOUND + 0.02, f"the 95th percentile between tokens is {b / a:.1f} times the quiet one")
        server.stop(report)
