"""Scrape Envoy's own counters of access-log entries: written, and dropped at a full buffer."""

import asyncio
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from flowd.errors import ConnectError, UsageError
from flowd.model.losses import Losses, Place
from flowd.model.status import PartStatus, State
from flowd.runtime.tasks import guard
from flowd.text import count, printable

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

PART = "envoy-stats"
READ_SECONDS = 10.0
ANSWER_SECONDS = 5.0
MAX_BYTES = 4 << 20
PATH = "/stats/prometheus"
QUERY = "filter=access_logs%7Cserver.uptime"
FATES = ("written", "dropped")
SOURCES = {"grpc": "envoy-als", "open_telemetry": "otlp-logs"}
"""The source that receives the entries, by the access logger in the names of Envoy's counters."""

_UPTIME = "envoy_server_uptime"
_LOGS = re.compile(
    r"envoy_access_logs_(grpc|open_telemetry)_access_log_(?:\w{1,200}_)?logs_(written|dropped)"
)
_LINES = re.compile(rf"^(?:{_UPTIME}|{_LOGS.pattern})[ {{][^\n]{{0,1000}}$".encode(), re.MULTILINE)


class Scrape(NamedTuple):
    """Counters of one Envoy by (source, fate), and its uptime in seconds."""

    counts: dict[tuple[str, str], int]
    uptime: float


class EnvoyStats:
    """Scrapes Envoys' Prometheus pages every READ_SECONDS.

    Only Envoy counts entries that are lost while the agent is down or slow:
    `access_logs.grpc_access_log` and `access_logs.open_telemetry_access_log`, see "Access log
    statistics" in Envoy's documentation. The counters keep Envoy's values, so they reset with Envoy
    and not with the agent.

    Args:
        urls: of the pages; the default path is `/stats/prometheus`.
        losses: `logs_dropped` under Place.ENVOY: entries dropped by all Envoys since the first
            scrape.

    Raises:
        UsageError: an unusable URL, or two URLs of one host and port.
    """

    def __init__(self, urls: Sequence[str], losses: Losses) -> None:
        self._losses = losses
        self._targets = [_ScrapeTarget(url) for url in urls]
        names = Counter(page.name for page in self._targets)
        if twice := [name for name, times in names.items() if times > 1]:
            raise UsageError(f"envoy_stats names {twice[0]} twice", "one URL for one Envoy")
        if self._targets:
            losses.add(Place.ENVOY, "logs_dropped", 0)

    async def run(self, failed: Callable[[str, str], None]) -> None:
        """Scrape every page until cancelled; `failed` as in `flowd.runtime.tasks.guard`."""
        if not self._targets:
            return
        import httpx2

        async with (
            httpx2.AsyncClient(
                timeout=ANSWER_SECONDS,
                trust_env=False,
                verify=any(page.url.startswith("https:") for page in self._targets),
                headers={"accept": "text/plain", "accept-encoding": "identity"},
            ) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for page in self._targets:
                tasks.create_task(guard(page.part, self._watch(client, page), failed))

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Each Envoy's counters of the last scrape, by (host:port, source, fate)."""
        return {(page.name, *key): n for page in self._targets for key, n in page.counts.items()}

    def status(self) -> list[PartStatus]:
        """One status for each page."""
        return [page.status() for page in self._targets]

    async def _watch(self, client: "httpx2.AsyncClient", page: "_ScrapeTarget") -> None:
        while True:
            try:
                dropped = page.update(await read(client, page.url))
                self._losses.add(Place.ENVOY, "logs_dropped", dropped)
                page.trouble = ""
            except ConnectError as error:
                if not page.trouble:
                    log.warning("%s: %s", page.part, error.message)
                page.trouble = f"{error.message}: {error.hint}"
            await asyncio.sleep(READ_SECONDS)


class _ScrapeTarget:
    """One Envoy's page and its last scrape.

    Attributes:
        trouble: why the last scrape failed, "" if it succeeded.
    """

    def __init__(self, url: str) -> None:
        self.url, self.name = _address(url)
        self.part = f"{PART}/{self.name}"
        self.trouble = ""
        self._last: Scrape | None = None

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """Envoy's counters of the last scrape, by (source, fate)."""
        return self._last.counts if self._last else {}

    def update(self, now: Scrape) -> int:
        """Keep a scrape; returns the entries dropped since the last one, 0 for the first.

        A lower uptime or counter means a restart of Envoy, after which counters begin at 0.
        """
        last, self._last = self._last, now
        if last is None:
            return 0
        increase = 0
        for source in SOURCES.values():
            keys = [(source, fate) for fate in FATES]
            reset = any(now.counts.get(key, 0) < last.counts.get(key, 0) for key in keys)
            before = {} if reset or now.uptime < last.uptime else last.counts
            dropped = (source, "dropped")
            increase += now.counts.get(dropped, 0) - before.get(dropped, 0)
        return increase

    def status(self) -> PartStatus:
        """ON with the counters, DEGRADED with reason and last counters, OFF before a scrape."""
        counts = self.counts
        totals = [
            f"{source} {count(counts.get((source, 'written'), 0))} written,"
            f" {count(counts.get((source, 'dropped'), 0))} dropped"
            for source in SOURCES.values()
            if any((source, fate) in counts for fate in FATES)
        ]
        if self.trouble:
            return PartStatus(self.part, State.DEGRADED, "; ".join([self.trouble, *totals]))
        if self._last is None:
            return PartStatus(self.part, State.OFF, "not read yet")
        return PartStatus(self.part, State.ON, "; ".join(totals) or "no entry over gRPC yet")


async def read(client: "httpx2.AsyncClient", url: str) -> Scrape:
    """Scrape a page, without following redirects.

    Raises:
        ConnectError: no complete answer in time, a page above MAX_BYTES, or no Prometheus text.
    """
    import httpx2

    body = bytearray()
    try:
        async with asyncio.timeout(ANSWER_SECONDS), client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise ConnectError(f"HTTP status {answer.status_code}", _CHECK)
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "text/plain" or "content-encoding" in answer.headers:
                raise ConnectError("the answer is no plain text", _CHECK)
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ConnectError(f"an answer over {MAX_BYTES >> 20} MiB", _CHECK)
    except (TimeoutError, httpx2.TimeoutException):
        raise ConnectError(f"no whole answer within {ANSWER_SECONDS:.0f} s", _REACH) from None
    except httpx2.HTTPError as error:
        raise ConnectError(_root_cause(error), _REACH) from None
    return parse(body)


def parse(body: bytes | bytearray) -> Scrape:
    """Parse the access-log counters of a page in Prometheus text format, summed over labels.

    Raises:
        ConnectError: a line of such a counter is no Prometheus text, or its value no count.
    """
    from prometheus_client.parser import text_string_to_metric_families

    counts, uptime = Counter[tuple[str, str]](), 0.0
    lines = b"\n".join(found[0] for found in _LINES.finditer(body))
    try:
        for family in text_string_to_metric_families(lines.decode()):
            for sample in family.samples:
                if not (math.isfinite(sample.value) and 0 <= sample.value < 2**63):
                    raise ValueError(sample.name)
                if sample.name == _UPTIME:
                    uptime = sample.value
                elif named := _LOGS.fullmatch(sample.name):
                    counts[SOURCES[named[1]], named[2]] += int(sample.value)
    except (ValueError, IndexError):  # the parser raises both for invalid text
        raise ConnectError("the answer is no Prometheus text", _CHECK) from None
    return Scrape(dict(counts), uptime)


_CHECK = f"give Envoy's own {PATH} in `envoy_stats`"
_REACH = "check `envoy_stats`, and that Envoy runs"


def _root_cause(error: BaseException) -> str:
    """The innermost exception's message, on one line."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(message or type(error).__name__, 200)


def _address(text: str) -> tuple[str, str]:
    """The URL to scrape, and its `host:port`.

    Raises:
        UsageError: the URL is unusable.
    """
    shown = printable(text, 200)
    try:
        url = urlsplit(text)
        port = url.port or {"http": 80, "https": 443}[url.scheme]
    except (ValueError, KeyError):
        raise UsageError(f"envoy_stats: {shown} cannot be used", _FORM) from None
    if not url.hostname or not text.isprintable() or " " in text:
        raise UsageError(f"envoy_stats: {shown} cannot be used", _FORM)
    if "@" in url.netloc:
        raise UsageError("envoy_stats: a URL with a password cannot be used", _FORM)
    path = PATH if url.path in ("", "/") else url.path
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    target = urlunsplit((url.scheme, url.netloc, path, url.query or QUERY, ""))
    return target, printable(f"{host}:{port}", 200)


_FORM = f"as in http://127.0.0.1:9901{PATH}"
