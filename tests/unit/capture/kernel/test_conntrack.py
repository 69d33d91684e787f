"""Conntrack events when reading fails, recovers, or lists more entries than the limit."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest

from flowd.capture.kernel import conntrack
from flowd.capture.kernel.conntrack import Conntrack
from flowd.model.losses import Losses, Place
from flowd.model.status import State
from flowd_bpf.conntrack.parse import ENTRY, Entries


class Watch:
    """A fake event socket: fails while `broken`, and lists `entries` entries."""

    broken = False
    entries = 3

    def __init__(self, **_options: object) -> None:
        self.overruns = 0

    def read(self) -> Entries:
        if Watch.broken:
            raise OSError(errno.EIO, "gone")
        return np.zeros(0, ENTRY)

    def list(self, limit: int) -> tuple[Entries, int]:
        kept = min(self.entries, limit)
        return np.zeros(kept, ENTRY), self.entries - kept

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that the test sets, and a fake event socket."""
    made = SimpleNamespace(now=1000.0)
    fake = SimpleNamespace(monotonic=lambda: made.now, time_ns=lambda: int(made.now * 1e9))
    monkeypatch.setattr(conntrack, "time", fake)
    monkeypatch.setattr(conntrack, "ConntrackWatch", Watch)
    monkeypatch.setattr(conntrack, "count_entries", lambda: 7)
    monkeypatch.setattr(Watch, "broken", False)
    return made


def test_failing_is_told_and_it_begins_again_with_a_list(clock: SimpleNamespace) -> None:
    source = Conntrack(Losses())
    source.start()
    (first,) = source.read_events()
    assert first.complete
    Watch.broken = True
    assert source.read_events() == []
    assert source.status().state is State.DEGRADED
    assert "gone" in source.status().detail
    Watch.broken = False
    assert source.read_events() == []
    assert source.status().state is State.DEGRADED
    clock.now += conntrack.RETRY_SECONDS
    (again,) = source.read_events()
    assert (again.complete, again.since_ns, len(again.rows)) == (True, 0, 3)
    assert source.status().state is State.ON
    source.close()
    clock.now += conntrack.RETRY_SECONDS
    assert source.read_events() == []
    assert source.status().state is State.OFF


@pytest.mark.usefixtures("clock")
def test_list_has_a_limit_and_ends_nothing_then() -> None:
    losses = Losses()
    source = Conntrack(losses, limit=2)
    source.start()
    (first,) = source.read_events()
    assert (len(first.rows), first.complete) == (2, False)
    assert losses.snapshot()[Place.CAPTURE, "conntrack_list_full"] == 1
