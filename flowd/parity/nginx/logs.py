"""Read ingress-nginx access logs: the default format `upstreaminfo` and JSON lines, plain or CRI-wrapped.

Format: `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer"
"$http_user_agent" $request_length $request_time [$proxy_upstream_name]
[$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time
$upstream_status $req_id` (docs/user-guide/nginx-configuration/log-format.md of controller-v1.15.1).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from flowd.parity.nginx.locate import find_location
from flowd.parity.nginx.servers import CATCH_ALL, Configuration
from flowd.parity.nginx.uri import BadTarget, parse_target
from flowd.parity.outcome import ParityRequest, Seen

_LINE = re.compile(
    rb'^\S+ - .*? \[[^\]]+\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) \d+ "(?:[^"\\]|\\.)*" '
    rb'"(?:[^"\\]|\\.)*" \d+ [\d.]+ \[(?P<upstream>[^\]]*)\] '
    rb"\[(?P<alternative>[^\]]*)\] .*(?<=[^,:] )"
    rb"(?P<tries>(?:\d{3}|-)(?:(?:, | : )(?:\d{3}|-))*) \S+$"
)
_CRI = re.compile(rb"^\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) [FP] ")
_ESCAPE = re.compile(rb"\\x([0-9A-Fa-f]{2})")
DEFAULT_UPSTREAM = "upstream-default-backend"
MAX_LINE = 1 << 16
"""Bytes of a line; a longer one is counted as malformed."""


Kind = tuple[bytes, bytes, bytes, bytes, bytes, bytes]
"""Request line, status, upstream, alternative upstream, upstream statuses, host."""

MAX_KINDS = 1 << 19
"""Kinds of requests that are kept; entries of further kinds are counted."""


@dataclass(slots=True)
class LogSummary:
    """What the lines were.

    Attributes:
        lines: number of lines that were read.
        malformed: lines that are no access-log entry.
        hostless: entries whose host no rule gives.
        ambiguous: entries that several hosts may have got.
        over_bound: entries of kinds beyond MAX_KINDS.
    """

    lines: int = 0
    malformed: int = 0
    hostless: int = 0
    ambiguous: int = 0
    over_bound: int = 0


@dataclass(slots=True)
class LogReader:
    """Counts kinds of requests over log lines.

    A kind is method, target, host and what became of the request; requests of one kind are compared
    once.
    """

    configuration: Configuration
    summary: LogSummary = field(default_factory=LogSummary)
    _kinds: Counter[Kind] = field(default_factory=Counter[Kind])
    _examples: dict[tuple[bytes, ...], Kind] = field(default_factory=dict[tuple[bytes, ...], Kind])

    def read(self, lines: Iterable[bytes]) -> None:
        """Count the kinds of requests of these lines."""
        summary = self.summary
        for line in lines:
            summary.lines += 1
            entry = _CRI.sub(b"", line) if line[:1].isdigit() else line
            if len(line) > MAX_LINE:
                summary.malformed += 1
            elif entry.startswith(b"{"):
                self._json(entry)
            elif found := _LINE.match(entry.rstrip()):
                request, status, upstream, alternative, tries = found.groups()
                self._count((request, status, upstream, alternative, tries, b""))
            elif entry.strip():
                summary.malformed += 1

    def _json(self, line: bytes) -> None:
        try:
            entry = msgspec.json.decode(line, type=dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.summary.malformed += 1
            return
        text = {key: str(value) for key, value in entry.items()}
        target = text.get("request_uri") or text.get("uri") or _target(text)
        status = text.get("status", "")
        if not target or not status.isdigit():
            self.summary.malformed += 1
            return
        method = text.get("request_method") or text.get("method") or "GET"
        request = f"{method} {target} HTTP/1.1"
        host = text.get("host") or text.get("vhost") or text.get("http_host") or ""
        key = (
            request,
            status,
            text.get("proxy_upstream_name", ""),
            text.get("proxy_alternative_upstream_name", ""),
            text.get("upstream_status", "-"),
            host,
        )
        request_, status_, upstream, alternative, tries, host_ = (
            each.encode("utf-8", "surrogatepass") for each in key
        )
        self._count((request_, status_, upstream, alternative, tries, host_))

    def _count(self, key: Kind) -> None:
        """Count an entry under its kind; all queries of a path are one kind, shown by the first."""
        path, mark, _ = key[0].partition(b"?")
        kind = (path, mark, *key[1:])
        known = self._examples.get(kind)
        if known is None:
            if len(self._examples) >= MAX_KINDS:
                self.summary.over_bound += 1
                return
            self._examples[kind] = known = key
        self._kinds[known] += 1

    def requests(self) -> list[ParityRequest]:
        """The kinds of requests, most frequent first, each with its evidence."""
        hosts = _hosts_by_upstream(self.configuration)
        found: list[ParityRequest] = []
        for (
            request,
            status,
            upstream,
            alternative,
            tries,
            host,
        ), count in self._kinds.most_common():
            line = _ESCAPE.sub(lambda hex_: bytes([int(hex_[1], 16)]), request)
            parts = line.decode("utf-8", "replace").split(" ")
            if len(parts) != 3 or not parts[2].startswith("HTTP/"):
                self.summary.malformed += count
                continue
            name = alternative.decode() or upstream.decode()
            names = (
                [host.decode()] if host else self._candidates(hosts, upstream.decode(), parts[1])
            )
            if not names:
                self.summary.hostless += count
                continue
            if len(names) > 1:
                self.summary.ambiguous += count
            seen = _seen(int(status), name, tries.decode())
            found.append(
                ParityRequest(host=names[0], method=parts[0], path=parts[1], count=count, seen=seen)
            )
        return found

    def _candidates(self, hosts: Mapping[str, list[str]], upstream: str, target: str) -> list[str]:
        """Hosts whose location for the target has the upstream; the default format has no host.

        An entry without an upstream, and one of the default backend, belongs to the only host of the
        configuration if there is only one.
        """
        named = self.configuration.named
        if upstream in ("", "-", DEFAULT_UPSTREAM):
            known = [host for host in named if host != CATCH_ALL and not host.startswith("*.")]
            return known if len(known) == 1 else []
        try:
            parsed = parse_target(target)
        except BadTarget:
            return []
        fitting: list[str] = []
        for host in hosts.get(upstream, ()):
            location = find_location(named[host], parsed).location
            if location and location.upstream and location.upstream.name == upstream:
                fitting.append(host)
        return fitting


def _target(text: Mapping[str, str]) -> str:
    path, args = text.get("path", ""), text.get("args", "") or text.get("request_query", "")
    return f"{path}?{args}" if path and args else path


def _seen(status: int, upstream: str, tries: str) -> Seen:
    """Evidence of a line; the last of several tries is the one that answered."""
    answers = [each.strip() for each in re.split(r"[,:]", tries) if each.strip()]
    last = answers[-1] if answers else "-"
    failed = last in ("502", "503", "504") and int(last) == status
    answered = last.isdigit() and not failed
    return Seen(status, upstream, answered, retried=answered and len(answers) > 1)


def _hosts_by_upstream(configuration: Configuration) -> dict[str, list[str]]:
    hosts: dict[str, list[str]] = {}
    for host, server in configuration.named.items():
        if host == CATCH_ALL or host.startswith("*."):
            continue
        for name in {entry.upstream.name for entry in server.locations if entry.upstream}:
            hosts.setdefault(name, []).append(host)
    return hosts
