"""Access logs of ingress-nginx: formats, hosts, evidence, hostile lines."""

import json

from flowd.parity.nginx.annotations import ControllerSettings
from flowd.parity.nginx.logs import MAX_LINE, LogReader
from flowd.parity.nginx.servers import build
from flowd.parity.outcome import ParityRequest, Seen
from tests.support.parity_objects import before, ingress

ONE = before(ingress("a", ("/", "Prefix", "web"), ("/api", "Prefix", "api")))
TWO = before(
    ingress("a", ("/", "Prefix", "web")),
    ingress("b", ("/", "Prefix", "web"), ("/only", "Prefix", "own"), host="b.test", age=2),
)


def line(
    request: str = "GET / HTTP/1.1",
    status: int = 200,
    upstream: str = "shop-web-80",
    alternative: str = "",
    tail: str = "10.0.0.7:8080 12 0.004 200",
) -> bytes:
    """A line of the default format."""
    return (
        f'192.0.2.9 - - [01/Dec/2026:10:00:00 +0000] "{request}" {status} 12 "-" "curl/8" 90 0.004 '
        f"[{upstream}] [{alternative}] {tail} 0123456789abcdef0123456789abcdef\n"
    ).encode()


def read(*lines: bytes, objects: object = ONE) -> tuple[list[ParityRequest], LogReader]:
    """The requests of these lines, and the reader."""
    assert objects is ONE or objects is TWO
    reader = LogReader(build(ONE if objects is ONE else TWO, ControllerSettings()))
    reader.read(lines)
    return reader.requests(), reader


def test_kinds_are_counted_and_queries_are_one_kind() -> None:
    requests, _ = read(line("GET /a?x=1 HTTP/1.1"), line("GET /a?x=2 HTTP/1.1"), line())
    assert [(each.path, each.count, each.host) for each in requests] == [
        ("/a?x=1", 2, "store.test"),
        ("/", 1, "store.test"),
    ]


def test_evidence_of_a_line() -> None:
    for given, seen in [
        (line(), Seen(200, "shop-web-80")),
        (line(alternative="shop-new-80"), Seen(200, "shop-new-80")),
        (line(status=308, tail="- - - -"), Seen(308, "shop-web-80", answered=False)),
        (line(status=502, tail="10.0.0.7:1 0 0.001 502"), Seen(502, "shop-web-80", answered=False)),
        (
            line(tail="10.0.0.7:1, 10.0.0.8:1 0, 12 0.000, 0.004 502, 200"),
            Seen(200, "shop-web-80", retried=True),
        ),
        (
            line(status=404, tail="10.0.0.7:1 : 10.0.0.8:1 0 : 12 0.000 : 0.004 503 : 404"),
            Seen(404, "shop-web-80", retried=True),
        ),
    ]:
        [request] = read(given)[0]
        assert request.seen == seen


def test_the_host_comes_from_the_upstream() -> None:
    requests, reader = read(
        line("GET /only/1 HTTP/1.1", upstream="shop-own-80"),
        line("GET /x HTTP/1.1"),
        line("GET /y HTTP/1.1", status=404, upstream="upstream-default-backend"),
        objects=TWO,
    )
    assert [request.host for request in requests] == ["b.test", "store.test"]
    assert (reader.summary.ambiguous, reader.summary.hostless) == (1, 1)


def test_json_lines_and_container_runtimes() -> None:
    entry = {
        "host": "b.test",
        "method": "POST",
        "uri": '/x?q="1"',
        "status": 200,
        "proxy_upstream_name": "shop-web-80",
        "proxy_alternative_upstream_name": "",
        "upstream_status": "502, 200",
    }
    cri = b"2026-12-01T10:00:00.000000000Z stdout F "
    requests, reader = read(json.dumps(entry).encode(), cri + line(), objects=TWO)
    assert requests[0].host == "b.test"
    assert requests[0].path == '/x?q="1"'
    assert requests[0].seen == Seen(200, "shop-web-80", retried=True)
    assert reader.summary.malformed == 0
    assert len(requests) == 2


def test_hostile_lines_are_counted() -> None:
    _, reader = read(
        b"\xff\xfe\x00",
        b'192.0.2.9 - - [x] "unfinished',
        b"{" + b"[" * 5000,
        b'{"status": 200}',
        b"x" * (MAX_LINE + 1),
        line(r"\x16\x03\x01"),
        line("GET /a b HTTP/1.1"),
        b"\n",
    )
    assert reader.requests() == []
    assert reader.summary.malformed >= 7
    forged, _ = read(line(r"GET /\x22 200 1 \x22-\x22 HTTP/1.1"), line(r"GET /\x1b[2J HTTP/1.1"))
    assert len(forged) <= 2
