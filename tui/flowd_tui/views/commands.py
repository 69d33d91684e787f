"""The `flowd observe` command line that shows the same as a row."""

from collections.abc import Sequence
from shlex import quote

from flowd_tui.data.flow_line import FlowLine, Peer


def observe(flags: Sequence[tuple[str, str | int]], follow: bool = False) -> str:
    """`flowd observe` with those flags that have a value, quoted for a shell."""
    words = ["flowd observe", *(["--follow"] if follow else [])]
    words += [f"--{flag} {quote(str(value))}" for flag, value in flags if value]
    return " ".join(words)


def observe_flow(flow: FlowLine) -> str:
    """Flows between the same sides, with the same port, protocol, verdict and route."""
    flags: list[tuple[str, str | int]] = [
        _side("from", flow.source),
        _side("to", flow.destination),
        ("from-port" if flow.reply else "to-port", flow.server.port),
        ("protocol", flow.protocol.lower()),
        ("verdict", "DROPPED" if flow.verdict == "dropped" else ""),
        ("http-status", flow.status),
        ("route", flow.route.route),
    ]
    return observe(flags)


def _side(direction: str, peer: Peer) -> tuple[str, str]:
    if peer.pod and peer.namespace:
        return f"{direction}-pod", f"{peer.namespace}/{peer.pod}"
    return f"{direction}-ip", peer.ip
