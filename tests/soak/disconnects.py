"""Clients go away at every moment of a request, or never get to the point of making one."""
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time

import client
import harness

ERRORS = {"queue_full"}
# A process of its own that opens streams and waits to be killed.
VICTIM = """
import json, socket, sys, time
port, bodies = int(sys.argv[1]), json.loads(sys.argv[2])
open_ones = []
for body in bodies:
    data = json.dumps(body).encode()
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(b"POST /v1/completions HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(data) + data)
    open_ones.append(s)
print("sent", flush=True)
time.sleep(600)
"""


def body_of(draws):
    return {"prompt": harness.tokens_of(draws, draws.choice((10, 100, 900))), "max_tokens": draws.choice((1, 20, 100)), "temperature": 0,
            "ignore_eos": True, "stream": draws.random() < 0.7, "n": draws.choice((1, 1, 1, 2)), "user": f"client {draws.randrange(8)}"}


async def hang_up_while_sending(server, draws):
    """Somewhere in the head or in the body."""
    data = client.request_bytes("POST", "/v1/completions", body_of(draws))
    cut = draws.randrange(1, len(data)) if draws.random() < 0.7 else draws.randrange(1, 100)
    async with client.Connection() as connection:
        await connection.connect(server.port)
        await connection.send(data[:cut])
        await asyncio.sleep(draws.random() * 0.2)
        if draws.random() < 0.5:
            connection.reset()
    return client.Answer("left")


async def hang_up_while_answered(server, draws):
    """In the queue, in the prompt, in the stream: at a random moment."""
    return await client.ask(server.port, body_of(draws), leave=draws.choice((0.0, 0.02, 0.2, 1.0)) * draws.random() + 0.001, reset=draws.random() < 0.5)


async def hang_up_at_the_first_piece(server, draws):
    async with client.Connection() as connection:
        await connection.connect(server.port)
        await connection.send(client.request_bytes("POST", "/v1/completions", body_of(draws) | {"stream": True}))
        await connection.receive(1)
        connection.reset()
    return client.Answer("left")


async def close_the_sending_half(server, draws):
    """FIN right after the request: this client still reads, and gets an answer."""
    async with client.Connection() as connection:
        await connection.connect(server.port)
        await connection.send(client.request_bytes("POST", "/v1/completions", body_of(draws) | {"max_tokens": 4}))
        connection.socket.shutdown(1)
        if not await asyncio.wait_for(connection.receive(), 60):
            return client.Answer("broken")
        while await asyncio.wait_for(connection.receive(), 60):
            pass
    return client.Answer("left")


async def nonsense(server, draws):
    """Bytes that are no request: an error or the end, never silence."""
    data = draws.choice((b"\x16\x03\x01\x02", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                         b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", draws.randbytes(200) + b"\r\n\r\n"))
    async with client.Connection() as connection:
        await connection.connect(server.port)
        await connection.send(data)
        while await asyncio.wait_for(connection.receive(), 60):
            pass
    return client.Answer("left")


async def stay(server, draws):
    return await client.ask(server.port, body_of(draws), limit=600)


KINDS = (hang_up_while_sending, hang_up_while_answered, hang_up_while_answered, hang_up_at_the_first_piece, close_the_sending_half, nonsense, stay)


async def wild_client(server, seed, end):
    draws, answers = random.Random(seed), []
    while time.monotonic() < end:
        kind = draws.choice(KINDS)
        try:
            answers.append(await kind(server, draws))
        except ConnectionError:
            answers.append(client.Answer("left"))  # the server was first, as after nonsense
        except asyncio.TimeoutError:
            answers.append(client.Answer("broken", detail=f"{kind.__name__}: silence"))
    return answers


async def killed_processes(server, draws, end):
    """Processes with eight streams each end by kill -9."""
    count = 0
    while time.monotonic() < end:
        bodies = [body_of(draws) for _ in range(8)]
        child = subprocess.Popen([sys.executable, "-c", VICTIM, str(server.port), json.dumps(bodies)], stdout=subprocess.PIPE)
        await asyncio.get_running_loop().run_in_executor(None, child.stdout.readline)
        await asyncio.sleep(draws.random())
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        count += 1
    return count


async def silent_connections(server, draws, count):
    """Connections that send nothing, half a head, or a head without its body, one byte now and then; when each ended, in seconds."""
    async def one(index):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        first = (b"", head[:20], head, head + b"\r\n{")[index % 4]
        began = time.monotonic()
        async with client.Connection() as connection:
            await connection.connect(server.port)
            try:
                await connection.send(first)
                while time.monotonic() - began < 100:
                    with_byte = index % 8 >= 4 and first
                    try:
                        data = await asyncio.wait_for(connection.receive(), 5)
                        if not data:
                            break
                    except asyncio.TimeoutError:
                        if with_byte:  # the slow loris
                            await connection.send(b"x")
            except ConnectionError:
                pass
        return time.monotonic() - began
    return await asyncio.gather(*(one(i) for i in range(count)))


def run(options, report):
    draws = random.Random(options.seed)
    wild = 12 if options.short else 48
    with harness.Server(options, "--sequences", 8, "--queue", 32, "--context", 2048) as server:
        async def load():
            end = time.monotonic() + options.seconds
            silent = asyncio.create_task(silent_connections(server, draws, 0 if options.short else 80))
            killed = asyncio.create_task(killed_processes(server, draws, end))
            lists = await asyncio.gather(*(wild_client(server, draws.random(), end) for _ in range(wild)))
            report.say(killed_processes=await killed)
            ended = await silent
            if ended:
                report.say(silent_ended_after_s=round(max(ended), 1))
                report.check(max(ended) < 95, f"connections without a request stay for {max(ended):.0f} s")
            return [answer for answers in lists for answer in answers]
        answers = asyncio.run(harness.under_load(server, report, options, load))
        harness.check_answers(report, answers, ERRORS)
        report.check(any(a.kind == "answer" for a in answers), "no client was answered at all")
        server.stop(report)
