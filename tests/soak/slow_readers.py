"""Hundreds of clients ask for streams and then hardly read them, or not at all; two others must not notice.

A third reads 64 bytes a second, a third stops after the first bytes, a third never reads. What the server may not do is
wait for them: their generations end, what they do not take is bounded, and one that takes nothing for the write
timeout is cut off. Those that read slowly get all of their answers.
"""
import asyncio
import random
import time

import client
import harness

READ_RATE = 64  # bytes a second
DONE = b"[DONE]"
KINDS = "slow", "stops", "never"
NORMAL = 2
GENERATION_LIMIT = 900.0  # seconds for all their answers, on a busy machine too
STALL_LIMIT = 40.0  # seconds: the server's write timeout of 30, and some


def clients_of(options):
    return 32 if options.short else 256


async def slow_client(server, body, kind, until, seen):
    """Asks, reads as badly as `kind` says until `until` (an event), and notes in `seen` when the server cut it off."""
    async with client.Connection(receive_buffer=4096) as connection:
        await connection.connect(server.port)
        await connection.send(client.request_bytes("POST", "/v1/completions", body))
        if kind == "never":
            await until.wait()
        elif kind == "stops":
            await connection.receive(256)
            await until.wait()
        tail, how = b"", "ended early"
        try:
            while not until.is_set() and DONE not in tail:
                await asyncio.sleep(1)
                tail = tail[-len(DONE):] + await asyncio.wait_for(connection.receive(READ_RATE), 30)
            while DONE not in tail:  # whatever is left must come to an end at once: complete, or cut off
                data = await asyncio.wait_for(connection.receive(), 30)
                if not data:
                    break
                tail = tail[-len(DONE):] + data
            if DONE in tail:
                how = "complete"
        except ConnectionError:
            how = "cut off"
        except asyncio.TimeoutError:
            how = "hung"
        seen[f"{kind}: {how}"] = seen.get(f"{kind}: {how}", 0) + 1


async def normal_clients(server, draws, seconds):
    """NORMAL clients in a closed loop; their answers."""
    async def one(seed):
        mine, answers = random.Random(seed), []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            body = {"prompt": harness.tokens_of(mine, 40), "max_tokens": 64, "temperature": 0, "ignore_eos": True, "stream": True, "user": f"normal {seed}"}
            answers.append(await client.ask(server.port, body, limit=300))
        return answers
    lists = await asyncio.gather(*(one(draws.random()) for _ in range(NORMAL)))
    return [answer for answers in lists for answer in answers]


def median_gap(answers):
    return harness.quantile([gap for answer in answers for gap in answer.gaps()], 0.5)


async def until_generated(server, limit):
    """Waits until only the readers' slowness keeps their streams alive."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        m = await server.metrics()
        if m["requests_running"] + m["requests_waiting"] == 0:
            return True
        await asyncio.sleep(0.5)
    return False


def run(options, report):
    draws = random.Random(options.seed)
    count = clients_of(options)
    part = max(2.0, options.seconds / 4)
    with harness.Server(options, "--sequences", 16, "--queue", 512, "--connections", 512, "--context", 1024) as server:
        async def load():
            quiet = await normal_clients(server, draws, part)
            over, seen = asyncio.Event(), {}
            def body(kind):
                # Much to take for those that take nothing.
                asked = {"prompt": harness.tokens_of(draws, 30), "max_tokens": 160, "temperature": 0, "ignore_eos": True, "stream": True}
                return asked if kind == "slow" else asked | {"logprobs": 5}
            kinds = [KINDS[i % 3] for i in range(count)]
            slow = [asyncio.create_task(slow_client(server, body(kind), kind, over, seen)) for kind in kinds]
            await asyncio.sleep(0.5)
            busy = await normal_clients(server, draws, part)
            generated = await until_generated(server, GENERATION_LIMIT)
            report.check(generated, "the streams of slow readers are not generated to their end")
            stalled = await normal_clients(server, draws, part)
            m = await server.metrics()
            report.say(open_while_stalled=int(m["http_connections"]))
            if not options.short:
                await asyncio.sleep(STALL_LIMIT)
                m = await server.metrics()
                report.say(open_after_write_timeout=int(m["http_connections"]))
                report.check(m["http_connections"] <= count * 0.4 + 2, f"{m['http_connections']} connections are open: those of stalled readers should have been cut off")
            over.set()
            await asyncio.gather(*slow)
            report.say(slow_clients=seen)
            report.check(not any("hung" in how for how in seen), f"streams that never end: {seen}")
            report.check(seen.get("slow: complete", 0) == kinds.count("slow"), f"slow readers without their whole answer: {seen}")
            return quiet, busy, stalled
        quiet, busy, stalled = asyncio.run(harness.under_load(server, report, options, load))
        harness.check_answers(report, quiet + busy + stalled, set())
        gaps = [median_gap(answers) for answers in (quiet, busy, stalled)]
        report.say(gap_ms={name: round(gap * 1e3, 2) for name, gap in zip(("quiet", "while generated", "while stalled"), gaps)})
        bound = 3.0 if options.short or options.sanitized else 1.5
        report.check(gaps[2] <= gaps[0] * bound + 0.005, f"stalled readers slow others: {gaps[2] * 1e3:.1f} ms between tokens, quiet {gaps[0] * 1e3:.1f} ms")
        server.stop(report)
