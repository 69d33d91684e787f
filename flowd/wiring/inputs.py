"""Build the agent's inputs from the settings: kernel capture, conntrack, access logs, Envoy's counters.

A new source of access logs is one function and one row of `ACCESS_LOG_SOURCES`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from flowd.capture.envoy.server import AlsServer
from flowd.capture.envoy.stats import EnvoyStats
from flowd.errors import UnsupportedError
from flowd.identity.table import IdentityTable
from flowd.model.losses import Losses
from flowd.model.status import PartStatus, State
from flowd.runtime.parts import RequestSource
from flowd.settings import Settings
from flowd.wiring.bootstrap import Bootstrap

if TYPE_CHECKING:
    from flowd.accesslog.snippet import Format
    from flowd.capture.kernel.conntrack import Conntrack

log = logging.getLogger(__name__)

MakeSource = Callable[[Settings, Losses, "Sequence[Format]"], RequestSource | None]


@runtime_checkable
class ListeningSource(Protocol):
    """A source that binds an address before it runs."""

    address: str

    async def start(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AccessLogSource:
    """A kind of access-log source.

    Attributes:
        part: name of its part in the status.
        log_field: field of the log line `running` that carries its address, "" for none.
        make: builds it; None where the settings do not ask for it.
    """

    part: str
    log_field: str
    make: MakeSource


def _als_server(
    settings: Settings, losses: Losses, _formats: "Sequence[Format]"
) -> AlsServer | None:
    if not settings.als_listen:
        return None
    return AlsServer(settings.als_listen, losses, trusted_hops=settings.trusted_hops)


def _log_files(
    settings: Settings, losses: Losses, formats: "Sequence[Format]"
) -> RequestSource | None:
    if not settings.access_log:
        return None
    from flowd.capture.logs.files import FileSource

    return FileSource(settings.access_log, losses, formats, settings.state_dir)


def _otlp_logs(
    settings: Settings, losses: Losses, formats: "Sequence[Format]"
) -> RequestSource | None:
    if not settings.otlp_logs_listen:
        return None
    from flowd.capture.logs.otlp_server import OtlpLogsServer

    return OtlpLogsServer(settings.otlp_logs_listen, losses, formats)


ACCESS_LOG_SOURCES = (
    AccessLogSource("envoy-als", "als", _als_server),
    AccessLogSource("access-log", "", _log_files),
    AccessLogSource("otlp-logs", "otlp_logs", _otlp_logs),
)


def _formats(settings: Settings) -> "Sequence[Format]":
    if not settings.access_log_format:
        return []
    from flowd.accesslog.snippet import load_formats

    return load_formats(Path(settings.access_log_format))


class Inputs:
    """Sources of connections and of access-log entries.

    Attributes:
        kernel: the capture in the kernel; None where it is off.
        kernel_off: why `kernel` is None.
        conntrack: the source of translations; None without capture.
        requests: sources of access-log entries by the name of their part.

    Raises:
        UsageError: a format file that cannot be used.
    """

    def __init__(self, settings: Settings, bootstrap: Bootstrap) -> None:
        self._settings = settings
        self.kernel, self.kernel_off = bootstrap.kernel, bootstrap.kernel_off
        self.conntrack = self._conntrack(bootstrap.losses) if self.kernel else None
        formats = _formats(settings)
        made = {
            kind.part: kind.make(settings, bootstrap.losses, formats) for kind in ACCESS_LOG_SOURCES
        }
        self.requests = {part: source for part, source in made.items() if source}
        self.envoy_stats = EnvoyStats(settings.envoy_stats, bootstrap.losses)

    def _conntrack(self, losses: Losses) -> "Conntrack":
        from flowd.capture.kernel.conntrack import Conntrack

        return Conntrack(losses, wanted=self._settings.nat, limit=self._settings.max_connections)

    def live_connections(self) -> int:
        """Connections that are open now."""
        return self.kernel.live_connections() if self.kernel else 0

    def received(self) -> tuple[dict[str, int], int]:
        """Access-log entries received by part, and access-log streams that ended."""
        entries = {part: source.received for part, source in self.requests.items()}
        als = self.requests.get("envoy-als")
        return entries, als.streams_ended if isinstance(als, AlsServer) else 0

    def update_endpoints(self, identities: IdentityTable) -> None:
        """Write what changed in the identity table to the kernel's maps."""
        changes = identities.drain_changes()
        if self.kernel:
            self.kernel.change_endpoints(changes)
            self.kernel.set_networks(identities.prefixes())

    async def start(self) -> None:
        """Attach the kernel programs and bind the addresses of listening sources.

        Raises:
            UsageError: an address cannot be bound.
            UnsupportedError: the setting `capture` is `on` and this machine cannot capture.
        """
        await self._start_kernel()
        if self.kernel and self.conntrack:
            self.conntrack.start()
        for source in self.requests.values():
            if isinstance(source, ListeningSource):
                await source.start()

    async def _start_kernel(self) -> None:
        if not self.kernel:
            return
        try:
            await self.kernel.start()
        except UnsupportedError as error:
            if self._settings.capture == "on":
                raise
            log.warning("no kernel capture, access logs only: %s", error.message)
            self.kernel, self.kernel_off = None, error.message

    async def close(self) -> None:
        """Detach from the kernel."""
        if self.conntrack:
            self.conntrack.close()
        if self.kernel:
            await self.kernel.close()

    def status(self) -> list[PartStatus]:
        """Status of the capture, of each access-log source, and of Envoy's counters."""
        parts: list[PartStatus] = []
        if self.kernel:
            parts += self.kernel.status()
            parts += [self.conntrack.status()] if self.conntrack else []
        else:
            parts.append(PartStatus("capture", State.OFF, self.kernel_off))
        for source in self.requests.values():
            parts += source.status()
        return [*parts, *self.envoy_stats.status()]

    def addresses(self) -> dict[str, str]:
        """Bound addresses by field of the log line `running`."""
        return {
            kind.log_field: source.address
            for kind in ACCESS_LOG_SOURCES
            if isinstance(source := self.requests.get(kind.part), ListeningSource)
        }
