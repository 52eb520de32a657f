"""Somebody else takes the memory: a second process in the server's control group leaves it less and less, then goes.

The governor must react, level by level, in time: nobody is killed, every request ends in an answer or in `memory_pressure`,
what is answered is what it always was, and all is as usual when the memory is free again.
"""
import asyncio
import re
import subprocess
import sys
import time

import client
import harness
import mixed

ERRORS = mixed.ERRORS | {"memory_pressure"}
REACTIONS = ("shrink", "spill", "hold", "preempt", "refuse")
TOO_LITTLE = -(4 << 20)  # bytes of headroom that are left; the reserve is 8 MiB at least
STEPS = 1 << 20, 16 << 20  # the least and the most that is taken at once
CLIENTS = 12
HOG = 24 << 20  # the second process without what it takes
LEAST_SECONDS = 24  # of load: the governor takes its time
CALM_LIMIT = 30.0  # seconds until all is as usual

TAKE = """
import mmap, sys
taken = []
for line in sys.stdin:
    block = mmap.mmap(-1, int(line))
    for at in range(0, len(block), 4096):
        block[at] = 1
    taken.append(block)
    print(flush=True)
"""


class Hog:
    """Takes memory in the control group, step by step. The first that the kernel would kill."""

    def __init__(self, limit):
        def enter():
            limit.enter()
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        self.process = subprocess.Popen([sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=enter)

    def take(self, size):
        self.process.stdin.write(b"%d\n" % size)
        self.process.stdin.flush()
        return self.process.stdout.readline() != b""

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


async def reactions(server):
    _, text = await client.get(server.port, "/metrics")
    return {m[1]: int(float(m[2])) for m in re.finditer(r'^inkstone_memory_reactions_total\{reaction="(\w+)"\} (\S+)$', text, re.M)}


async def squeeze(server, limit, report, seconds):
    """Takes memory until new requests are refused, or the time is over; then waits for the server to be as usual."""
    hog, taken = Hog(limit), 0
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            m = await server.metrics()
            if m["memory_level"] >= len(REACTIONS):
                break
            spare = m["memory_headroom_bytes"] - TOO_LITTLE
            if spare > 0:
                step = int(min(max(spare / 4, STEPS[0]), STEPS[1]))
                if not hog.take(step):
                    report.check(False, f"the kernel ended the process that took {taken} bytes")
                    return
                taken += step
            await asyncio.sleep(0.1)  # the governor looks ten times a second
        report.say(taken_mb=round(taken / 1e6), lowest_limit_pages=int(m["kv_page_limit"]))
    finally:
        hog.end()
    end = time.monotonic() + CALM_LIMIT
    while time.monotonic() < end and (await server.metrics())["memory_level"] > 0:
        await asyncio.sleep(0.1)
    report.check((await server.metrics())["memory_level"] == 0, f"{CALM_LIMIT} s after the memory was free again the level is not 0")


def run(options, report):
    memory = mixed.smallest_memory(options, mixed.ARGUMENTS)
    limit = None if options.sanitized else harness.MemoryLimit(int(memory * 1.1) + HOG)
    if limit is None or limit.kind != "cgroup":
        report.say(not_played="needs a memory control group, and a program without a sanitizer")
        return
    try:
        with harness.Server(options, *mixed.ARGUMENTS, "--memory", memory, before=limit.enter) as server:
            async def load():
                seconds = max(options.seconds, LEAST_SECONDS)
                end = time.monotonic() + seconds
                shared = mixed.shared_prompts(options.seed)
                tasks = [asyncio.create_task(mixed.one_client(server, f"{options.seed} {i}", end, shared)) for i in range(CLIENTS)]
                await asyncio.sleep(seconds / 8)
                await squeeze(server, limit, report, seconds / 2)
                return [answer for answers in await asyncio.gather(*tasks) for answer in answers]
            answers = asyncio.run(harness.under_load(server, report, options, load))
            harness.check_answers(report, answers, ERRORS)
            report.say(compared=mixed.check_agreement(report, answers), memory_mb=round(memory / 1e6, 1))
            seen = asyncio.run(reactions(server))
            report.say(reactions=seen)
            for name in ("shrink", "hold", "preempt"):
                report.check(seen.get(name, 0) > 0, f"the governor never came to {name}: {seen}")
            report.check("memory: none -> shrink" in server.log(), "the log does not tell of the first reaction")
            server.stop(report)
    finally:
        limit.close()
