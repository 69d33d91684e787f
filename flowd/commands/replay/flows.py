"""Read Hubble's JSON lines, as the flow log writes them, back into REQUEST rows."""

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import numpy as np

from flowd.accesslog.times import parse_time
from flowd.accesslog.values import MAX_TEXT, VERSIONS, address, flags, number, text
from flowd.model.enums import EntryKind
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch, empty_requests

Recorded = dict[str, Any]
"""Extension of a flow: gateway, listener, route, rule, match, backend, attribution."""


class FlowLogParser:
    """Collects flows, one row each; lines of other events are skipped.

    A flow has two addresses, those of the client and of the backend, or of the gateway for a
    request without a backend. They fill `client_*` and `up_remote_*`.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._flows: list[Mapping[str, Any]] = []

    def __len__(self) -> int:
        return len(self._flows)

    def add(self, line: bytes) -> None:
        """Parse one line; a malformed one is counted as `malformed_json`."""
        if not line.strip():
            return
        try:
            event = msgspec.json.decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            self._losses.add(Place.ACCESS_LOG, "malformed_json")
            return
        event = cast("Mapping[str, Any]", event)
        if flow := _part(event, "flow") or (event if "IP" in event else {}):
            self._flows.append(flow)

    def take(self) -> tuple[RequestBatch, dict[int, Recorded]]:
        """Rows of all flows since the last call, and by row the recorded route extension."""
        batch = empty_requests(len(self._flows))
        recorded: dict[int, Recorded] = {}
        for at, flow in enumerate(self._flows):
            self._fill(batch, at, flow)
            extension = _part(flow, "extensions")
            route = _part(extension, "value") or extension
            if route.get("route") or route.get("gateway"):
                recorded[at] = dict(route)
            batch["flags"][at] = max(flags(",".join(map(str, _items(route, "response_flags")))), 0)
        self._flows = []
        return batch, recorded

    def _fill(self, batch: RequestBatch, at: int, flow: Mapping[str, Any]) -> None:
        ip, reply = _part(flow, "IP"), flow.get("is_reply") is True
        layer4 = _part(flow, "l4")
        ports = _part(layer4, next(iter(layer4), ""))
        ends = ("up_remote", "client") if reply else ("client", "up_remote")
        for end, name in zip(ends, ("source", "destination"), strict=True):
            packed, _, bad = address(ip.get(name))
            batch[f"{end}_addr"][at] = np.frombuffer(packed, np.uint8)
            batch[f"{end}_port"][at] = _number(ports.get(f"{name}_port"), 0xFFFF)
            self._count_bad("bad_address", bad)
        l7 = _part(flow, "l7")
        http = _part(l7, "http")
        batch["kind"][at] = EntryKind.HTTP if http else EntryKind.TCP
        duration = _number(l7.get("latency_ns"), 1 << 62)
        batch["duration_ns"][at] = duration
        batch["time_ns"][at] = max(0, self._time(flow) - duration)
        batch["status"][at] = _number(http.get("code"), 0xFFFF)
        batch["method"][at] = _text(http.get("method"))
        version = http.get("protocol")
        batch["http_version"][at] = VERSIONS.get(version, 0) if isinstance(version, str) else 0
        self._url(batch, at, _text(http.get("url")))
        fields = map(_mapping, _items(http, "headers")[:64])
        headers = {_text(pair.get("key")).lower(): _text(pair.get("value")) for pair in fields}
        batch["headers"][at] = headers
        batch["request_id"][at] = headers.get("x-request-id", "")

    def _url(self, batch: RequestBatch, at: int, url: str) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:
            self._count_bad("bad_url", True)
            return
        batch["scheme"][at], batch["host"][at] = parts.scheme, parts.netloc
        batch["path"][at] = parts.path + (f"?{parts.query}" if parts.query else "")

    def _time(self, flow: Mapping[str, Any]) -> int:
        try:
            found = parse_time(_text(flow.get("time")))
        except (ValueError, OverflowError):
            found = -1
        fits = 0 <= found < 1 << 63
        self._count_bad("bad_time", not fits)
        return found if fits else 0

    def _count_bad(self, reason: str, bad: bool) -> None:
        if bad:
            self._losses.add(Place.ACCESS_LOG, reason)


def _part(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return _mapping(value.get(key))


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _items(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return cast("list[Any]", found) if isinstance(found, list) else []


def _number(value: Any, most: int) -> int:
    found = number(value)
    return found if 0 <= found <= most else 0


def _text(value: Any) -> str:
    return text(value)[:MAX_TEXT]
