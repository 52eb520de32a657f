"""Everything at once, under a hard limit of memory 10 % above what the server was told to stay within."""
import asyncio
import json
import random
import re
import subprocess
import time

import client
import harness

ERRORS = {"context_length_exceeded", "queue_full", "deadline_exceeded"}
CONTEXT = 2048
ARGUMENTS = ("--sequences", 8, "--queue", 48, "--context", CONTEXT)
SHARED, SHARED_TOKENS = 12, 1600  # questions that are asked again, and the length of the longest


def shared_prompts(seed):
    """Long prompts that several clients ask, again and again: what caches in memory and on disk are for."""
    draws = random.Random(seed)
    return [harness.tokens_of(draws, draws.randrange(SHARED_TOKENS // 2, SHARED_TOKENS)) for _ in range(SHARED)]


def body_of(draws, shared):
    length = int(10 * (CONTEXT * 2.5 / 10) ** draws.random())  # log-uniform from 10 to 2.5 contexts
    prompt = draws.choice(shared) if draws.random() < 0.3 else harness.tokens_of(draws, length)
    body = {"prompt": prompt, "max_tokens": draws.choice((1, 8, 32, 128)), "temperature": draws.choice((0, 0.8)),
            "stream": draws.random() < 0.5, "n": draws.choice((1, 1, 1, 2, 4)), "priority": draws.choice((-10, 0, 0, 10)), "ignore_eos": True}
    if draws.random() < 0.2:
        body["timeout"] = draws.choice((0.05, 1, 20))
    if draws.random() < 0.5:
        body["user"] = f"user {draws.randrange(4)}"
    if draws.random() < 0.1:
        body["logprobs"] = 3
    return body


async def one_client(server, seed, end, shared):
    draws, answers = random.Random(seed), []
    while time.monotonic() < end:
        body = body_of(draws, shared)
        leave = draws.random() * 3 if draws.random() < 0.25 else None
        answer = await client.ask(server.port, body, limit=900, leave=leave, reset=draws.random() < 0.5)
        answer.asked = len(body["prompt"])
        if body["prompt"] in shared and body["temperature"] == 0:
            answer.question = shared.index(body["prompt"])
        answers.append(answer)
        if answer.code in ("queue_full", "memory_pressure"):
            await asyncio.sleep(0.3)
    return answers


def smallest_memory(options, arguments):
    """What the plan needs for these arguments, in bytes, and a tenth more."""
    shown = subprocess.run([options.program, "serve", options.model, "--port", "0", *map(str, arguments), "--memory", "1MB"], capture_output=True, text=True)
    found = re.findall(r"([\d.]+) (MB|GB)", shown.stderr)
    if not found:
        raise RuntimeError(f"no plan in: {shown.stderr}")
    needed = max(float(number) * {"MB": 1e6, "GB": 1e9}[unit] for number, unit in found)
    return int(needed * 1.1)


async def bench(options, server):
    """`inkstone bench --url` as a further load; its report."""
    words = [options.program, "bench", "--url", f"http://127.0.0.1:{server.port}", "--endpoint", "completions", "--clients", "4", "--duration",
             f"{max(1, int(options.seconds))}s", "--prompt-tokens", "32:300", "--max-tokens", "16:64", "--disconnect", "0.1", "--warmup", "0", "--json"]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, errors = await process.communicate()
    return json.loads(out) if process.returncode == 0 else {"error": errors.decode()[-500:]}


def check_agreement(report, answers):
    """Greedy answers to one question begin alike, however long each may be and whatever happened around it."""
    longest = {}
    for answer in answers:
        if answer.kind == "answer" and answer.question is not None:
            known = longest.setdefault(answer.question, answer.text)
            short, long = sorted((known.rstrip("\ufffd"), answer.text.rstrip("\ufffd")), key=len)
            report.check(long.startswith(short), f"question {answer.question} was answered in two ways: {known!r}, {answer.text!r}")
            longest[answer.question] = long
    return sum(answer.kind == "answer" and answer.question is not None for answer in answers)


def play(options, report, more=(), meanwhile=None):
    """The load on one server, which gets the arguments `more` too; `meanwhile(server)` runs beside it, and is cancelled at its end."""
    draws = random.Random(options.seed)
    count = 24 if options.short else 64
    arguments = [*ARGUMENTS, *more]
    memory = smallest_memory(options, arguments) * (harness.SANITIZER_MEMORY if options.sanitized else 1)
    limit = None if options.sanitized else harness.MemoryLimit(int(memory * 1.1))
    report.say(memory_mb=round(memory / 1e6, 1), limit=limit.kind if limit else "none under a sanitizer")
    try:
        with harness.Server(options, *arguments, "--memory", memory, before=limit.enter if limit else None) as server:
            async def load():
                end, shared = time.monotonic() + options.seconds, shared_prompts(options.seed)
                beside = asyncio.create_task(meanwhile(server)) if meanwhile else None
                load_tool = asyncio.create_task(bench(options, server))
                lists = await asyncio.gather(*(one_client(server, draws.random(), end, shared) for _ in range(count)))
                seen = await load_tool
                if beside:
                    beside.cancel()
                    await asyncio.wait([beside])
                    report.check(beside.cancelled(), f"what ran beside the load: {beside.exception() if not beside.cancelled() else ''}")
                report.check("error" not in seen, f"bench --url: {seen.get('error')}")
                report.say(bench={key: seen.get("requests", {}).get(key) for key in ("answered", "failed", "empty", "hung_up")})
                return [answer for answers in lists for answer in answers]
            answers = asyncio.run(harness.under_load(server, report, options, load))
            harness.check_answers(report, answers, ERRORS)
            report.say(compared=check_agreement(report, answers))
            for answer in answers:
                if answer.asked >= CONTEXT and answer.kind in ("answer", "error"):
                    report.check(answer.status == 400, f"a prompt above the context: {answer}")
            server.stop(report)
    finally:
        if limit:
            limit.close()


def run(options, report):
    play(options, report)
