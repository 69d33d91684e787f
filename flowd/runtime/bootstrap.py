"""What the agent begins with. The kernel's programs are compiled while the rest is imported."""

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
class Groundwork:
    """The books that every part writes into, and the capture in the kernel.

    Attributes:
        kernel: None where this machine cannot capture, or shall not.
        kernel_off: why `kernel` is None.
    """

    losses: Losses
    directory: Directory
    kernel: "KernelCapture | None"
    kernel_off: str = ""


def lay(settings: Settings) -> Groundwork:
    """Begin: returns while a child process compiles.

    Raises:
        UsageError: settings of the capture that cannot be.
        UnsupportedError: kernel capture was asked for and this machine cannot do it.
    """
    losses = Losses()
    directory = Directory(settings.node_name, settings.cluster_name, sampling=settings.sampling)
    if settings.capture == "off":
        return Groundwork(losses, directory, None, "switched off by the setting `capture`")
    reason = unsupported_reason()
    if reason and settings.capture == "on":
        raise UnsupportedError(f"kernel capture cannot run: {reason}", "see `flowd check`")
    if reason:
        log.warning("no kernel capture, access logs only: %s", reason)
        return Groundwork(losses, directory, None, reason)
    from flowd.capture.kernel.filter import filter_of
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
        only=filter_of(settings),
        dns=settings.dns,
        dns_ports=settings.dns_ports,
    )
    kernel.begin()
    return Groundwork(losses, directory, kernel)
