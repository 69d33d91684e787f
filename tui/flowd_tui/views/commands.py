"""Build `flowd observe` command lines that show the flows of a row (key C)."""

from collections.abc import Sequence
from shlex import quote

from flowd_tui.data.flow_line import FlowEndpoint, FlowLine


def command_line(flags: Sequence[tuple[str, str | int]], follow: bool = False) -> str:
    """`flowd observe` with all flags that have a value, quoted for a shell."""
    words = ["flowd observe", *(["--follow"] if follow else [])]
    words += [f"--{flag} {quote(str(value))}" for flag, value in flags if value]
    return " ".join(words)


def flow_command_line(flow: FlowLine) -> str:
    """Command for flows between the same endpoints with equal port, protocol, verdict and route."""
    flags: list[tuple[str, str | int]] = [
        _endpoint_flag("from", flow.source),
        _endpoint_flag("to", flow.destination),
        ("from-port" if flow.reply else "to-port", flow.server.port),
        ("protocol", flow.protocol.lower()),
        ("verdict", "DROPPED" if flow.verdict == "dropped" else ""),
        ("http-status", flow.status),
        ("route", flow.route.route),
    ]
    return command_line(flags)


def _endpoint_flag(direction: str, endpoint: FlowEndpoint) -> tuple[str, str]:
    if endpoint.pod and endpoint.namespace:
        return f"{direction}-pod", f"{endpoint.namespace}/{endpoint.pod}"
    return f"{direction}-ip", endpoint.ip
