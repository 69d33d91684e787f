"""DnsNames: learning from responses, expiry by TTL, and the bound on addresses."""

import numpy as np
import pytest

from flowd.model.address import column
from flowd.model.enums import DnsKind
from flowd.model.losses import Losses, Place
from flowd.model.records.dns import Dns, DnsBatch, empty_dns
from flowd.pipeline.dns_names import GRACE_SECONDS, MAX_TTL_SECONDS, MIN_TTL_SECONDS, DnsNames

SECOND = 1_000_000_000
NOW = 1_790_000_000 * SECOND


def dns_rows(*messages: Dns, kind: DnsKind = DnsKind.RESPONSE, latency: int = 5) -> DnsBatch:
    rows = empty_dns(len(messages))
    rows["kind"], rows["latency_ns"], rows["dns"] = kind, latency, messages
    return rows


def names(of: DnsNames, *texts: str) -> list[str | None]:
    return of.name_of(column([*texts])).tolist()


def response(name: str, *ips: str, ttl: int = 300, rcode: int = 0) -> Dns:
    return Dns(name, "A", rcode, ips, ("edge.example.",), ttl)


def test_addresses_have_the_name_that_was_asked_for() -> None:
    known = DnsNames(Losses())
    known.learn(dns_rows(response("api.example.", "192.0.2.1", "2001:db8::1")), NOW)
    assert names(known, "192.0.2.1", "2001:db8::1", "192.0.2.2") == ["api.example"] * 2 + [None]
    known.learn(dns_rows(response("www.example.", "192.0.2.1")), NOW + 1)
    assert names(known, "192.0.2.1", "2001:db8::1") == ["www.example", "api.example"]
    assert known.name_of(np.zeros((0, 16), np.uint8)).shape == (0,)


@pytest.mark.parametrize(
    "rows",
    [
        dns_rows(response("api.example.", "192.0.2.1"), kind=DnsKind.QUERY),
        dns_rows(response("api.example.", "192.0.2.1"), kind=DnsKind.TIMEOUT),
        dns_rows(response("api.example.", "192.0.2.1", rcode=3)),
        dns_rows(response("api.example.", "192.0.2.1"), latency=0),
        dns_rows(response("api.example.")),
    ],
    ids=["query", "timeout", "error", "answer that nobody asked for", "no address"],
)
def test_nothing_is_learnt_from(rows: DnsBatch) -> None:
    known = DnsNames(Losses())
    known.learn(rows, NOW)
    assert len(known) == 0


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [(0, MIN_TTL_SECONDS), (300, 300), (2**31 - 1, MAX_TTL_SECONDS)],
)
def test_names_are_forgotten_with_their_time_to_live(ttl: int, seconds: int) -> None:
    known = DnsNames(Losses())
    known.learn(dns_rows(response("api.example.", "192.0.2.1", ttl=ttl)), NOW)
    until = NOW + (seconds + GRACE_SECONDS) * SECOND
    known.learn(empty_dns(), until - 1)
    assert names(known, "192.0.2.1") == ["api.example"]
    known.learn(empty_dns(), until)
    assert names(known, "192.0.2.1") == [None]
    known.learn(empty_dns(), until + 3600 * SECOND)
    assert len(known) == 0


def test_number_of_addresses_is_bounded_and_those_learnt_first_go() -> None:
    losses = Losses()
    known = DnsNames(losses, 3)
    for number in range(1, 5):
        known.learn(dns_rows(response(f"n{number}.example.", f"192.0.2.{number}")), NOW)
        known.learn(dns_rows(response("first.example.", "192.0.2.1")), NOW)
    assert len(known) == 3
    texts = [f"192.0.2.{number}" for number in range(1, 5)]
    assert names(known, *texts) == ["first.example", None, "n3.example", "n4.example"]
    assert losses.snapshot()[Place.CAPTURE, "dns_names_full"] == 1
    known.learn(dns_rows(response("many.example.", *(f"198.51.100.{n}" for n in range(64)))), NOW)
    assert len(known) == 3
