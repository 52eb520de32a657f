"""What --cache-folder costs: answers with it and without it, in turns. A report; nothing about speed is asserted."""
import asyncio
import random
import statistics
import tempfile

import client
import harness

ARGUMENTS = ("--sequences", 1, "--context", 2048)


async def seconds_per_token(server, prompt):
    body = {"prompt": prompt, "max_tokens": 128, "temperature": 0, "ignore_eos": True, "stream": True}
    answer = await client.ask(server.port, body, limit=300)
    return answer, statistics.fmean(answer.gaps()) if answer.gaps() else 0.0


async def compare(report, off, on, prompts):
    times = [], []
    for turn, prompt in enumerate(prompts):
        for which in ((0, 1), (1, 0))[turn % 2]:
            answer, seconds = await seconds_per_token((off, on)[which], prompt)
            report.check(answer.kind == "answer", f"{answer}")
            times[which].append(seconds)
    return [statistics.median(values) for values in times]


def run(options, report):
    draws = random.Random(options.seed)
    # Long prompts, whose pages are written while their answers are decoded.
    prompts = [harness.tokens_of(draws, 800) for _ in range(5 if options.short else 21)]
    with tempfile.TemporaryDirectory() as folder, harness.Server(options, *ARGUMENTS) as off:
        with harness.Server(options, *ARGUMENTS, "--cache-folder", folder) as on:
            a, b = asyncio.run(compare(report, off, on, prompts))
            written = int(asyncio.run(on.metrics())["page_store_written_total"])
            report.check(written > 0, "nothing was written to the folder")
            on.stop(report)
        off.stop(report)
    report.say(off_ms=round(a * 1e3, 3), on_ms=round(b * 1e3, 3), cost_percent=round((b / a - 1) * 100, 1), pages_written=written)
