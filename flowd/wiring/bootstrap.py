"""First step of the agent: registries, loss counters, and the child that compiles the kernel programs.

Imports little, so that the child runs while `flowd.agent` and its libraries are imported.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowd.capture.preflight import unsupported_reason
from flowd.errors import UnsupportedError
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.settings import Settings

if TYPE_CHECKING:
    from flowd.capture.kernel.source import KernelCapture

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Bootstrap:
    """Registries that every part writes into, and the capture in the kernel.

    Attributes:
        losses: counters of lost records, by place and reason.
        directory: endpoints, routes, backends and processes by index.
        kernel: the capture, which compiles; None where it is off or this machine cannot capture.
        kernel_off: why `kernel` is None.
    """

    losses: Losses
    directory: Directory
    kernel: "KernelCapture | None"
    kernel_off: str = ""


def prepare(settings: Settings) -> Bootstrap:
    """Make the registries and start to compile; returns while a child process compiles.

    Raises:
        UsageError: settings of the capture that cannot be used.
        UnsupportedError: the setting `capture` is `on` and this machine cannot capture.
    """
    losses = Losses()
    directory = Directory(settings.node_name, settings.cluster_name, sampling=settings.sampling)
    if settings.capture == "off":
        return Bootstrap(losses, directory, None, "switched off by the setting `capture`")
    reason = unsupported_reason()
    if reason and settings.capture == "on":
        raise UnsupportedError(f"kernel capture cannot run: {reason}", "see `flowd check`")
    if reason:
        log.warning("no kernel capture, access logs only: %s", reason)
        return Bootstrap(losses, directory, None, reason)
    from flowd.capture.kernel.filter import capture_filter
    from flowd.capture.kernel.source import KernelCapture

    kernel = KernelCapture(
        directory,
        losses,
        interfaces=settings.interface,
        connections=settings.max_connections,
        detail_records=settings.detail_records,
        drops=settings.drops,
        tunnel_ports=settings.tunnel_port,
        sockets=settings.sockets,
        only=capture_filter(settings),
        dns=settings.dns,
        dns_ports=settings.dns_ports,
    )
    kernel.begin()
    return Bootstrap(losses, directory, kernel)
