"""Read address translations (NAT) of this network namespace from conntrack events and lists."""

import errno
import logging
import math
import time
from itertools import islice
from pathlib import Path

import numpy as np

from flowd.model.losses import Losses, Place
from flowd.model.records.translation import TRANSLATION, TranslationBatch, TranslationUpdate
from flowd.model.status import PartStatus, State
from flowd_bpf.conntrack.netlink import RECEIVE_BYTES, ConntrackWatch, count_entries
from flowd_bpf.conntrack.parse import Entries

log = logging.getLogger(__name__)

EVENTS = Path("/proc/sys/net/netfilter/nf_conntrack_events")
IPVS = Path("/proc/net/ip_vs")
IPVS_HEAD = 3  # header lines above the services
IPVS_CONNTRACK = Path("/proc/sys/net/ipv4/vs/conntrack")
LIST_SECONDS = 60.0  # entries older than the agent can end without an event
POLL_SECONDS = 5.0  # interval of lists where the kernel sends no events
OVERRUN_SECONDS = 1.0
RETRY_SECONDS = 10.0
LIMIT = 131_072


class Conntrack:
    """Polls conntrack for events of translated connections, without blocking.

    Args:
        losses: under Place.CAPTURE `conntrack_overrun`: overflows of the event socket's buffer,
            each followed by a list of all entries; `conntrack_list_full`: entries above `limit`.
        wanted: False switches the part off.
        limit: most entries of a list.
        receive_bytes: size of the socket's receive buffer.
    """

    def __init__(
        self,
        losses: Losses,
        *,
        wanted: bool = True,
        limit: int = LIMIT,
        receive_bytes: int = RECEIVE_BYTES,
    ) -> None:
        self._losses = losses
        self._limit, self._receive_bytes = limit, receive_bytes
        self._watch: ConntrackWatch | None = None
        self._state, self._detail = State.OFF, "not started"
        if not wanted:
            self._detail = "switched off by the setting `nat`"
        self._wanted = wanted
        self._every = self._no_events = False
        self._gap = True  # events may be missing since the last list
        self._overruns = 0
        self._read_ns = 0
        self._list_at = 0.0
        self._retry_at = math.inf

    def start(self) -> None:
        """Subscribe to events in this thread's network namespace; `status` reports a refusal."""
        if not self._wanted:
            return
        self._retry_at = math.inf
        self._every, self._no_events = IPVS.exists(), _read(EVENTS) == "0"
        try:
            count_entries()
            self._watch = ConntrackWatch(every=self._every, receive_bytes=self._receive_bytes)
        except OSError as error:
            self._refuse(error)
            return
        self._losses.add(Place.CAPTURE, "conntrack_overrun", 0)
        self._read_ns, self._list_at, self._overruns, self._gap = time.time_ns(), 0.0, 0, True

    def read_events(self) -> list[TranslationUpdate]:
        """Events since the last call; the first call, and others at intervals, list all entries."""
        if time.monotonic() >= self._retry_at:
            self.start()
        if self._watch is None:
            return []
        try:
            return self._poll(self._watch)
        except OSError as error:
            log.warning("no translations for now", extra={"why": str(error)})
            self.close()
            self._refuse(error)
            return []

    def status(self) -> PartStatus:
        """ON, OFF with the reason, or DEGRADED to lists."""
        if self._watch is None:
            return PartStatus("nat", self._state, self._detail)
        if self._no_events:
            return PartStatus("nat", State.DEGRADED, NO_EVENTS)
        if self._every and ipvs_unseen():
            return PartStatus("nat", State.DEGRADED, IPVS_UNSEEN)
        return PartStatus("nat", State.ON, f"{self.tracked():,} connections in conntrack")

    def tracked(self) -> int:
        """Connections in conntrack, translated or not; 0 when the kernel does not report them."""
        if self._watch is None:
            return 0
        try:
            return count_entries()
        except OSError:
            return 0

    def close(self) -> None:
        """Close the event socket."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._retry_at = math.inf
        if self._wanted:
            self._state, self._detail = State.OFF, "stopped"

    def _poll(self, watch: ConntrackWatch) -> list[TranslationUpdate]:
        since, monotonic = self._read_ns, time.monotonic()
        updates: list[TranslationUpdate] = []
        self._read_ns = time.time_ns()
        rows = watch.read()
        if len(rows):
            updates.append(TranslationUpdate(_rows(rows), since, time.time_ns()))
        if watch.overruns > self._overruns:
            self._losses.add(Place.CAPTURE, "conntrack_overrun", watch.overruns - self._overruns)
            self._overruns, self._gap = watch.overruns, True
            self._list_at = min(self._list_at, monotonic + OVERRUN_SECONDS)
        if monotonic >= self._list_at:
            self._list_at = monotonic + (POLL_SECONDS if self._no_events else LIST_SECONDS)
            since = 0 if self._gap or self._no_events else self._read_ns
            rows, above = watch.list(self._limit)
            self._losses.add(Place.CAPTURE, "conntrack_list_full", above)
            updates.append(
                TranslationUpdate(_rows(rows), since, time.time_ns(), complete=not above)
            )
            self._gap = False
            self._refresh_mode()
        return updates

    def _refresh_mode(self) -> None:
        """Follow IPVS and nf_conntrack_events, which can change while the agent runs."""
        if IPVS.exists() != self._every:
            self.close()
            self.start()
        self._no_events = _read(EVENTS) == "0"

    def _refuse(self, error: OSError) -> None:
        self._state, self._detail = State.DEGRADED, reason(error)
        self._retry_at = time.monotonic() + RETRY_SECONDS


NO_EVENTS = (
    f"only what lasts {POLL_SECONDS:.0f} s is seen: set net.netfilter.nf_conntrack_events to 1 or 2"
)
IPVS_UNSEEN = "what IPVS translates is not seen: set net.ipv4.vs.conntrack to 1"


def reason(error: OSError) -> str:
    """One line on why conntrack cannot be read."""
    if error.errno in (errno.EPERM, errno.EACCES):
        return "conntrack cannot be read without CAP_NET_ADMIN"
    if error.errno in (errno.EPROTONOSUPPORT, errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP):
        return "this kernel has no conntrack over netlink: load nf_conntrack_netlink"
    return f"conntrack does not answer: {error.strerror or error}"


def probe() -> tuple[State, str]:
    """Whether translations can be read here, and one line of detail; for `flowd check`."""
    part = Conntrack(Losses())
    part.start()
    try:
        status = part.status()
    finally:
        part.close()
    return status.state, status.detail


def ipvs_unseen() -> bool:
    """Whether IPVS has a service in this network namespace but creates no conntrack entries."""
    if _read(IPVS_CONNTRACK) != "0":
        return False
    try:
        with IPVS.open() as listed:
            return len(list(islice(listed, IPVS_HEAD + 1))) > IPVS_HEAD
    except OSError:
        return False


def _rows(entries: Entries) -> TranslationBatch:
    rows = np.empty(len(entries), TRANSLATION)
    for column in TRANSLATION.names or ():
        rows[column] = entries[column]
    return rows


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
