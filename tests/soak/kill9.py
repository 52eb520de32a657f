"""kill -9 while pages are being written, then a new server on the same folder, many times."""
import asyncio
import os
import random
import signal
import tempfile
import time

import client
import harness

ARGUMENTS = ("--sequences", 4, "--context", 1024, "--cache-size", "40MB")
SYSTEM_TOKENS = 600  # that all prompts begin with


def prompts_of(draws, system, count):
    return [system + harness.tokens_of(draws, 200) for _ in range(count)]


def body_of(prompt):
    return {"prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": True}


async def ask_all(server, prompts):
    return [await client.ask(server.port, body_of(prompt), limit=300) for prompt in prompts]


async def killed_while_asked(server, draws, prompts):
    """Asks all at once, and kills the server at a random moment of it; the answers until then."""
    async def one(prompt):
        return prompt, await client.ask(server.port, body_of(prompt), limit=300)
    tasks = [asyncio.create_task(one(prompt)) for prompt in prompts]
    await asyncio.sleep(draws.random() * 1.5)
    os.kill(server.pid, signal.SIGKILL)
    return [answer for answer in await asyncio.gather(*tasks) if answer[1].kind == "answer"]


def run(options, report):
    draws = random.Random(options.seed)
    system = harness.tokens_of(draws, SYSTEM_TOKENS)
    prompts = prompts_of(draws, system, 4 if options.short else 8)
    with harness.Server(options, *ARGUMENTS, "--prefix-cache", "off") as server:
        expected = asyncio.run(ask_all(server, prompts))
        harness.check_answers(report, expected, set())
        server.stop(report)
    right = {tuple(prompt): answer for prompt, answer in zip(prompts, expected)}
    rounds, cached, damaged, end = 0, 0, 0, time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as folder:
        while rounds < 3 or time.monotonic() < end:
            rounds += 1
            with harness.Server(options, *ARGUMENTS, "--cache-folder", folder) as server:
                first = asyncio.run(client.ask(server.port, body_of(prompts[rounds % len(prompts)]), limit=300))
                report.check(harness.same_answer(first, right[tuple(prompts[rounds % len(prompts)])]), f"round {rounds}: {first}")
                cached += first.usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
                # New prompts keep the writer busy, old ones are compared.
                asked = prompts + prompts_of(draws, harness.tokens_of(draws, SYSTEM_TOKENS), len(prompts))
                for prompt, answer in asyncio.run(killed_while_asked(server, draws, asked)):
                    if tuple(prompt) in right:
                        report.check(harness.same_answer(answer, right[tuple(prompt)]), f"round {rounds}: expected {right[tuple(prompt)]}, found {answer}")
        with harness.Server(options, *ARGUMENTS, "--cache-folder", folder) as server:
            last = asyncio.run(ask_all(server, prompts))
            for answer, correct in zip(last, expected):
                report.check(harness.same_answer(answer, correct), f"at the end: expected {correct}, found {answer}")
            m = asyncio.run(server.metrics())
            damaged = int(m["page_store_damaged_total"])
            report.check(m["page_store_loaded_total"] > 0, "no page came back from the folder at the end")
            server.stop(report)
    report.say(rounds=rounds, cached_tokens_of_first_answers=cached, damaged=damaged)
    report.check(cached > 0, "no first answer after a restart had cached tokens")
