"""A server under test, what is known about its process, and the checks that every scenario ends with."""
import asyncio
import contextlib
import dataclasses
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import tempfile
import threading
import time

import client

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
READY_LIMIT = 120.0  # seconds for a server to be ready, under a sanitizer too
EXIT_LIMIT = 20.0  # seconds from SIGTERM to the end
SETTLE_LIMIT = 60.0  # seconds until what a load leaves behind has ended
MEMORY_SLACK = 1.10, 16 << 20  # how much larger the second half's maximum may be: a factor, and bytes
STACKS = 192 << 20  # where only RLIMIT_DATA can be had: the stacks of the threads count there, though nobody has touched them
SANITIZER_MEMORY = 10  # times as much as without one
SANITIZER_SLACK = 1.25, 128 << 20  # a sanitizer's own: quarantine, shadow, history


class Report:
    """Figures and failed checks of one scenario."""

    def __init__(self, name):
        self.name = name
        self.figures = {}
        self.failures = []

    def check(self, good, message):
        if not good:
            self.failures.append(message)

    def say(self, **figures):
        self.figures.update(figures)


@dataclasses.dataclass
class Options:
    program: str
    model: str
    seconds: float
    seed: int
    short: bool  # a quick run for CI: fewer clients
    prompt_tokens: int = 0  # of long_context; 0: its own choice

    @property
    def sanitized(self):
        return b"__tsan_" in self._symbols or b"__asan_" in self._symbols

    @property
    def _symbols(self):
        return _head_of(self.program)


_heads = {}


def _head_of(program):
    if program not in _heads:
        _heads[program] = pathlib.Path(program).read_bytes()
    return _heads[program]


class MemoryLimit:
    """Runs a process within `bytes`: in a memory cgroup where this user may make one, else under RLIMIT_DATA."""

    def __init__(self, limit):
        self.limit = limit
        self.folder = None
        for mount, controller, name in (("/sys/fs/cgroup/memory", "memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "", "memory.max")):
            parent = pathlib.Path(mount + self._group(controller))
            if not (parent / name).exists() and not (pathlib.Path(mount) / "cgroup.controllers").exists():
                continue
            try:
                folder = parent / f"inkstone-soak-{os.getpid()}"
                folder.mkdir()
                self.folder = folder
                (folder / name).write_text(str(limit))
                return
            except OSError:
                self.close()
        self.limit += STACKS

    @staticmethod
    def _group(controller):
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if names == controller:
                return path
        return ""

    @property
    def kind(self):
        return "cgroup" if self.folder else "RLIMIT_DATA"

    def enter(self):
        """In the child, before it becomes the server."""
        if self.folder:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))
        else:
            resource.setrlimit(resource.RLIMIT_DATA, (self.limit, self.limit))

    def close(self):
        if self.folder:
            with contextlib.suppress(OSError):
                self.folder.rmdir()
        self.folder = None


class Server:
    """`inkstone serve` on a free port of the loopback. `before`: called in the child before it becomes the server."""

    def __init__(self, options, *arguments, before=None):
        self._options = options
        self._log = tempfile.NamedTemporaryFile(prefix="soak_", suffix=".log")
        words = [options.program, "serve", options.model, "--port", "0", "--quiet", *map(str, arguments)]
        environment = dict(os.environ, TSAN_OPTIONS="halt_on_error=0 report_signal_unsafe=0", ASAN_OPTIONS="quarantine_size_mb=32:detect_leaks=1")
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self._log, env=environment, preexec_fn=before)
        self.pid = self.process.pid
        timer = threading.Timer(READY_LIMIT, self.process.kill)
        timer.start()
        line = self.process.stdout.readline().decode()
        timer.cancel()
        found = re.search(r":(\d+)/", line)
        if not found:
            self.kill()
            raise RuntimeError(f"the server did not start: {self.log()[-2000:]}")
        self.port = int(found[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def log(self):
        return pathlib.Path(self._log.name).read_text(errors="replace")

    def stop(self, report):
        """SIGTERM; checks that it ends well and in time."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(EXIT_LIMIT)
        except subprocess.TimeoutExpired:
            status = "none yet"
        report.check(status == 0, f"SIGTERM: exit status 0 within {EXIT_LIMIT} s expected, found {status}")
        report.say(exit_s=round(time.monotonic() - began, 2))
        self.check_log(report)

    def check_log(self, report):
        found = re.search(r"WARNING: ThreadSanitizer.*|ERROR: \w+Sanitizer.*|runtime error:.*|internal error:.*|terminate called.*", self.log())
        report.check(not found, f"the log says: {self.log()[found.start():found.start() + 3000] if found else ''}")

    # What the kernel knows of the process.
    def resident(self):
        return int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        """All but those of the page store's files, of which there are as many as it needs."""
        count = 0
        for link in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                count += ".slab" not in os.readlink(link)
        return count

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    async def metrics(self):
        """Name to value, for what has no labels."""
        status, text = await client.get(self.port, "/metrics")
        if status != 200:
            raise RuntimeError(f"/metrics: status {status}")
        return {m[1]: float(m[2]) for m in re.finditer(r"^inkstone_(\w+) (\S+)$", text, re.M)}


class MemoryWatch:
    """The process's resident memory, four times a second, on a thread of its own."""

    def __init__(self, server):
        self._server = server
        self._samples = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _run(self):
        while not self._done.wait(0.25):
            with contextlib.suppress(OSError, IndexError):
                self._samples.append(self._server.resident())

    def check(self, report, sanitized):
        samples = self._samples
        if len(samples) < 8:
            return
        first, second = max(samples[:len(samples) // 2]), max(samples[len(samples) // 2:])
        factor, extra = SANITIZER_SLACK if sanitized else MEMORY_SLACK
        report.say(memory_first_half_mb=round(first / 1e6, 1), memory_second_half_mb=round(second / 1e6, 1))
        report.check(second <= first * factor + extra, f"resident memory grew from {first} in the first half to {second} bytes in the second")


KNOWN_TEXT = "The history of printing begins with the stone, the ink and the hand that moves it. " * 12


async def ask_known(server, limit=300.0):
    """A greedy answer that never changes: text, reason of its end, tokens."""
    body = {"prompt": KNOWN_TEXT, "temperature": 0, "max_tokens": 48}
    while True:
        answer = await client.ask(server.port, body, limit=limit)
        if answer.code != "queue_full":
            return answer
        await asyncio.sleep(0.2)


def same_answer(a, b):
    return a.kind == b.kind == "answer" and (a.text, a.finish, a.usage.get("completion_tokens")) == (b.text, b.finish, b.usage.get("completion_tokens"))


async def settle(server, report, descriptors, threads):
    """Waits for what the load left behind to end; checks that nothing stays."""
    end = time.monotonic() + SETTLE_LIMIT
    while True:
        m = await server.metrics()
        left = {name: m[name] for name in ("requests_running", "requests_waiting", "kv_pages_used") if m[name] != 0}
        if server.descriptors() > descriptors:
            left["descriptors"] = server.descriptors() - descriptors
        if server.threads() > threads:
            left["threads"] = server.threads() - threads
        if not left or time.monotonic() > end:
            break
        await asyncio.sleep(0.2)
    report.check(not left, f"{SETTLE_LIMIT} s after the load there still are: {left}")
    return m


async def under_load(server, report, options, load):
    """Runs `load()` between two askings of the known prompt, and all common checks. Returns what load returns."""
    before = await ask_known(server)
    report.check(before.kind == "answer", f"before the load: {before}")
    await asyncio.sleep(0.2)  # the connection of the question is gone
    descriptors, threads = server.descriptors(), server.threads()
    with MemoryWatch(server) as memory:
        result = await load()
    m = await settle(server, report, descriptors, threads)
    memory.check(report, options.sanitized)
    after = await ask_known(server)
    report.check(same_answer(before, after), f"the known prompt was answered differently: before {before}, after {after}")
    report.say(preempted=int(m["generations_preempted_total"]), cancelled=int(m["generations_cancelled_total"]))
    return result


def check_answers(report, answers, allowed):
    """Every request ended in an answer, by this client's will, or in an error whose code is `allowed`."""
    counts = {}
    for answer in answers:
        key = answer.kind if answer.kind != "error" else f"error {answer.status} {answer.code}"
        counts[key] = counts.get(key, 0) + 1
        if answer.kind == "error":
            report.check(answer.code in allowed, f"an error that has no cause here: {answer}")
        report.check(answer.kind != "broken", f"neither an answer nor a clear error: {answer}")
    report.say(ended=dict(sorted(counts.items())))


def tokens_of(draws: random.Random, count):
    """A prompt of random tokens: ids that every vocabulary here has, none of them special."""
    return [draws.randrange(300, 6000) for _ in range(count)]


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else 0.0
