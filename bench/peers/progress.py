"""A line on standard error for what takes more than two seconds: what it is, how far it is, and how long it will still take."""
import sys
import threading
import time

FIRST, AGAIN, AGAIN_IN_A_LOG = 2, 1, 30  # seconds until the first line, and between lines on a terminal and elsewhere


def clock(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class Progress:
    """with Progress("writing x") as p: ...; p.at(0.3) where the share that is done is known. `expected`: seconds, where that is known instead."""

    def __init__(self, what, expected=None):
        self.what, self.expected, self.share = what, expected, None
        self.terminal = sys.stderr.isatty()
        self.start, self.shown = time.monotonic(), False
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def at(self, share):
        self.share = share

    def _left(self, passed):
        if self.share:
            return f", {self.share:.0%}".replace("%", " %") + f", about {clock(passed * (1 - self.share) / self.share)} left"
        if self.expected:
            return f", about {clock(max(0, self.expected - passed))} left"
        return ""

    def _show(self, words):
        if self.terminal:
            print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)
        else:
            print(words, file=sys.stderr, flush=True)
        self.shown = True

    def _run(self):
        pause = FIRST
        while not self.done.wait(pause):
            passed = time.monotonic() - self.start
            self._show(f"{self.what}: {clock(passed)}{self._left(passed)}")
            pause = AGAIN if self.terminal else AGAIN_IN_A_LOG

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self.done.set()
        self.thread.join()
        passed = time.monotonic() - self.start
        if self.shown:
            self._show(f"{self.what}: {'failed' if kind else 'done'} after {clock(passed)}")
            if self.terminal:
                print(file=sys.stderr, flush=True)
