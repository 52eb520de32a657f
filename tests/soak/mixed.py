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
STACKS = 192 << 20  # where only RLIMIT_DATA can be had: the stacks of the threads count there, though nobody has touched them


def body_of(draws):
    length = int(10 * (CONTEXT * 2.5 / 10) ** draws.random())  # log-uniform from 10 to 2.5 contexts
    body = {"prompt": harness.tokens_of(draws, length), "max_tokens": draws.choice((1, 8, 32, 128)), "temperature": draws.choice((0, 0.8)),
            "stream": draws.random() < 0.5, "n": draws.choice((1, 1, 1, 2, 4)), "priority": draws.choice((-10, 0, 0, 10)), "ignore_eos": True}
    if draws.random() < 0.2:
        body["timeout"] = draws.choice((0.05, 1, 20))
    if draws.random() < 0.5:
        body["user"] = f"user {draws.randrange(4)}"
    if draws.random() < 0.1:
        body["logprobs"] = 3
    return body


async def one_client(server, seed, end):
    draws, answers = random.Random(seed), []
    while time.monotonic() < end:
        body = body_of(draws)
        leave = draws.random() * 3 if draws.random() < 0.25 else None
        answer = await client.ask(server.port, body, limit=900, leave=leave, reset=draws.random() < 0.5)
        answer.asked = len(body["prompt"])
        answers.append(answer)
        if answer.code == "queue_full":
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


def run(options, report):
    draws = random.Random(options.seed)
    count = 24 if options.short else 64
    arguments = ["--sequences", 8, "--queue", 48, "--context", CONTEXT]
    memory = smallest_memory(options, arguments)
    limit = None if options.sanitized else harness.MemoryLimit(int(memory * 1.1))
    if limit and limit.kind == "RLIMIT_DATA":
        limit.limit += STACKS
    report.say(memory_mb=round(memory / 1e6, 1), limit=limit.kind if limit else "none under a sanitizer")
    try:
        with harness.Server(options, *arguments, "--memory", memory, before=limit.enter if limit else None) as server:
            async def load():
                end = time.monotonic() + options.seconds
                load_tool = asyncio.create_task(bench(options, server))
                lists = await asyncio.gather(*(one_client(server, draws.random(), end) for _ in range(count)))
                seen = await load_tool
                report.check("error" not in seen, f"bench --url: {seen.get('error')}")
                report.say(bench={key: seen.get("requests", {}).get(key) for key in ("answered", "failed", "empty", "hung_up")})
                return [answer for answers in lists for answer in answers]
            answers = asyncio.run(harness.under_load(server, report, options, load))
            harness.check_answers(report, answers, ERRORS)
            for answer in answers:
                if answer.asked >= CONTEXT and answer.kind in ("answer", "error"):
                    report.check(answer.status == 400, f"a prompt above the context: {answer}")
            server.stop(report)
    finally:
        if limit:
            limit.close()
