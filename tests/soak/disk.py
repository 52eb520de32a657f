"""The cache folder fills up, becomes read-only, is damaged or vanishes under the running server: no client may notice."""
import asyncio
import contextlib
import os
import pathlib
import random
import resource
import shutil
import subprocess
import tempfile

import client
import harness

PROMPT_TOKENS = 800  # long enough to be written at its first use
LIMITED_FILE = 3 << 20


def prompts_of(options, count):
    draws = random.Random(options.seed)
    return [harness.tokens_of(draws, PROMPT_TOKENS) for _ in range(count)]


async def ask_all(server, prompts):
    body = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}
    return [await client.ask(server.port, body | {"prompt": prompt}, limit=300) for prompt in prompts]


@contextlib.contextmanager
def small_disk(folder):
    """A file system of 3 MB at `folder`; False where this user may not mount one."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)


def slabs(folder):
    return sorted(pathlib.Path(folder).glob("*.slab"))


def scribble(folder, draws):
    for path in slabs(folder):
        with open(path, "r+b") as file:
            for _ in range(200 if path.stat().st_size else 0):
                file.seek(draws.randrange(path.stat().st_size))
                file.write(draws.randbytes(16))


def cut_in_half(folder, _):
    for path in slabs(folder):
        os.truncate(path, path.stat().st_size // 2)


def empty(folder, _):
    for path in slabs(folder):
        os.truncate(path, 0)


def delete(folder, _):
    for path in slabs(folder):
        path.unlink()


def remove_folder(folder, _):
    shutil.rmtree(folder)


def make_read_only(folder):
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)


ARGUMENTS = ("--sequences", 4, "--context", 1024)
# Room in memory for one prompt at a time: the others come from the disk or are computed.
SMALL = ("--sequences", 1, "--context", 1024)


class Case:
    """One server with a cache folder, whose answers are compared with those of one without."""

    def __init__(self, options, report, prompts, expected):
        self.options, self.report, self.prompts, self.expected = options, report, prompts, expected

    def compare(self, name, answers):
        for prompt, (found, expected) in enumerate(zip(answers, self.expected)):
            self.report.check(harness.same_answer(found, expected), f"{name}: prompt {prompt}: expected {expected}, found {found}")

    async def _rounds(self, server, name, folder, harm):
        half = len(self.prompts) // 2
        self.compare(name, await ask_all(server, self.prompts[:half]))
        await asyncio.sleep(0.3)  # the writer is at work or has been
        if harm:
            harm(folder, random.Random(self.options.seed))
        for _ in range(2):
            self.compare(name, await ask_all(server, self.prompts))
        m = await server.metrics()
        self.report.say(**{name: {key: int(m["page_store_" + key + "_total"]) for key in ("written", "loaded", "dropped", "damaged")}})

    def play(self, name, folder, harm=None, size="40MB", before=None, between=None):
        """Serves from `folder`, which `harm` damages meanwhile; then again, from what is left, after `between`."""
        for again in (False, True):
            if again and between:
                between(folder)
            with harness.Server(self.options, *SMALL, "--cache-folder", folder, "--cache-size", size, before=before) as server:
                title = name + (", started again" if again else "")
                asyncio.run(self._rounds(server, title, folder, None if again else harm))
                server.stop(self.report)


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMITED_FILE, LIMITED_FILE))


HARMS = (("scribbled on", scribble), ("cut in half", cut_in_half), ("emptied", empty), ("deleted", delete), ("folder removed", remove_folder))


def run(options, report):
    prompts = prompts_of(options, 4 if options.short else 12)
    with harness.Server(options, *ARGUMENTS, "--prefix-cache", "off") as server:
        expected = asyncio.run(ask_all(server, prompts))
        harness.check_answers(report, expected, set())
        server.stop(report)
    case = Case(options, report, prompts, expected)
    for name, harm in (HARMS[:2] if options.short else HARMS):
        with tempfile.TemporaryDirectory() as folder:
            case.play(name, folder + "/pages", harm)
    with tempfile.TemporaryDirectory() as folder:
        case.play("files limited to 3 MB", folder + "/pages", before=limit_files)
    # Needs the right to mount: full at its first file, and read-only for the second server, which reads nonetheless.
    for name, size, between in (("disk of 3 MB full", "40MB", None), ("read-only", "2500kB", make_read_only)):
        with tempfile.TemporaryDirectory() as folder, small_disk(folder) as mounted:
            if mounted:
                case.play(name, folder, size=size, between=between)
    lively = report.figures["cut in half, started again"]
    report.check(lively["loaded"] > 0, f"no page came back after a restart: {lively}")
    if between := report.figures.get("read-only, started again"):
        report.check(between["loaded"] > 0 and between["written"] == 0, f"read-only: {between}")
