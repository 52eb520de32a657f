"""The mixed load under its hard limit of memory, while the disk of the cache folder is full, read-only, or failing."""
import asyncio
import contextlib
import pathlib
import random
import tempfile

import disk
import harness
import mixed

HARMS = (disk.scribble, disk.scribble, disk.cut_in_half, disk.empty)


@contextlib.contextmanager
def full(_):
    with tempfile.TemporaryDirectory() as folder, disk.small_disk(folder) as mounted:
        if mounted:
            (pathlib.Path(folder) / "somebody's").write_bytes(bytes(2 << 20))
        yield folder + "/pages" if mounted else None, None


@contextlib.contextmanager
def read_only(options):
    """Some pages are there, none can be added, nor can the lock be taken."""
    with tempfile.TemporaryDirectory() as folder, disk.small_disk(folder) as mounted:
        pages = folder + "/pages"
        if mounted:
            with harness.Server(options, *mixed.ARGUMENTS, "--cache-folder", pages, "--cache-size", "2500kB") as server:
                asyncio.run(disk.ask_all(server, mixed.shared_prompts(options.seed)[:3]))
                server.kill()
            disk.make_read_only(folder)
        yield pages if mounted else None, None


@contextlib.contextmanager
def failing(options):
    """What was written is lost or wrong, again and again."""
    with tempfile.TemporaryDirectory() as folder:
        draws = random.Random(options.seed)

        async def harm_often(_):
            while True:
                await asyncio.sleep(1)
                draws.choice(HARMS)(folder + "/pages", draws)
        yield folder + "/pages", harm_often


def run(options, report):
    for disk_kind in (full, read_only, failing):
        part = harness.Report(disk_kind.__name__)
        with disk_kind(options) as (folder, meanwhile):
            if folder is None:
                part.say(not_played="this user may not mount")
            else:
                mixed.play(options, part, ("--cache-folder", folder, "--cache-size", "60MB"), meanwhile)
        report.say(**{part.name: part.figures})
        report.failures += [f"{part.name}: {failure}" for failure in part.failures]
