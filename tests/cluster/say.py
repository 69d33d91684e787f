"""Lines of progress on stderr, each with the seconds since the command began."""

import contextlib
import sys
import time
from collections.abc import Generator

_begin = time.monotonic()


def say(text: str) -> None:
    """Print one line with the time that has passed."""
    print(f"[{time.monotonic() - _begin:6.1f} s] {text}", file=sys.stderr, flush=True)


def elapsed() -> float:
    """Seconds since the command began."""
    return time.monotonic() - _begin


@contextlib.contextmanager
def step(text: str) -> Generator[None]:
    """Say what begins, and at its end how long it took if that was more than a moment."""
    say(text)
    begin = time.monotonic()
    yield
    if (took := time.monotonic() - begin) > 5:
        say(f"{text}: {took:.0f} s")
