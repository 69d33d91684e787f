"""Rows of DNS between pods: questions, answers, codes, latency, and unanswered queries."""

import asyncio
import socket
from functools import partial

import numpy as np
import pytest

from flowd.capture import preflight
from flowd.capture.dns import reader, source
from flowd.capture.kernel.filter import CaptureFilter
from flowd.capture.preflight import Grade
from flowd.model.address import column
from flowd.model.enums import DnsKind, Protocol
from flowd.model.losses import Place
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.dns import Dns, DnsBatch, empty_dns
from flowd.model.status import PartStatus, State
from tests.kernel import dns_server
from tests.kernel.dns_server import ALIAS, LONG, MANY, SILENT, ask, ask_by_tcp
from tests.kernel.net import Cluster, Pod
from tests.kernel.recorder import Recorder, eventually, recording
from tests.kernel.traffic import FAMILIES

ADDRESSES = "192.0.2.1", "192.0.2.2"
ASKED = [Dns("api.example.", "A"), Dns("api.example.", "AAAA")]
ANSWERED = [
    Dns("api.example.", "A", 0, ADDRESSES, (), 60, ("A", "A")),
    Dns("api.example.", "AAAA", 0, ("2001:db8::1",), (), 60, ("AAAA",)),
]
KINDS = [
    ("A", Dns("nx.example.", "A", 3)),
    ("AAAA", Dns("fail.example.", "AAAA", 2)),
    ("A", Dns(ALIAS, "A", 0, ADDRESSES, ("edge.example.",), 9, ("CNAME", "A", "A"))),
    *(
        (kind, Dns("x.example.", kind, 0, (), (), 60, (kind,)))
        for kind in ("SRV", "TXT", "MX", "HTTPS")
    ),
]


class Heard:
    """All DNS rows of a capture so far."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._rows = empty_dns()

    def rows(self, kind: DnsKind | None = None) -> DnsBatch:
        """All rows, or those of one kind."""
        self._rows = np.concatenate([self._rows, self._recorder.capture.take_dns()])
        return self._rows if kind is None else self._rows[self._rows["kind"] == kind]

    async def until(self, kind: DnsKind, count: int) -> DnsBatch:
        """Wait for `count` rows of a kind."""
        await eventually(lambda: len(self.rows(kind)) >= count)
        rows = self.rows(kind)
        assert len(rows) == count
        return rows


def status(recorder: Recorder) -> PartStatus:
    (found,) = [part for part in recorder.capture.status() if part.part == "dns"]
    return found


def lost(recorder: Recorder) -> dict[str, int]:
    counts = recorder.losses.snapshot()
    found = {name: count for (place, name), count in counts.items() if place == Place.CAPTURE}
    return {name: count for name, count in found.items() if count}


def udp(client: Pod, server: Pod, family: socket.AddressFamily) -> None:
    ask(client, server, "Api.example.", "A", family, number=1)
    ask(client, server, "api.example.", "AAAA", family, number=2)


def tcp(client: Pod, server: Pod, family: socket.AddressFamily) -> None:
    ask_by_tcp(client, server, [("Api.example.", "A"), ("api.example.", "AAAA")], family, piece=7)


async def test_messages_are_rows(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cases share one capture, since compiling takes a second."""
    client, server = cluster.pods
    with dns_server.serving(server):
        async with recording(dns=True) as recorder:
            for family in FAMILIES:
                for talk, protocol in ((udp, Protocol.UDP), (tcp, Protocol.TCP)):
                    heard = Heard(recorder)
                    await asyncio.to_thread(talk, client, server, family)
                    responses = await heard.until(DnsKind.RESPONSE, 2)
                    queries = heard.rows(DnsKind.QUERY)
                    assert queries["dns"].tolist() == ASKED
                    assert responses["dns"].tolist() == ANSWERED
                    for rows in (queries, responses):
                        assert rows["id"].tolist() == [1, 2]
                        assert set(rows["protocol"].tolist()) == {int(protocol)}
                        assert (rows["src_addr"] == column([client.at(family)])).all()
                        assert (rows["dst_addr"] == column([server.at(family)])).all()
                        assert set(rows["dst_port"].tolist()) == {53}
                    waited = responses["time_ns"] - queries["time_ns"]
                    assert (waited > 0).all()
                    assert (responses["latency_ns"] == waited).all()
                    carriers = {int(row["conn_id"]) for row in responses}
                    await recorder.until(partial(carried, carriers, protocol))
            for kind, answer in KINDS:
                heard = Heard(recorder)
                await asyncio.to_thread(ask, client, server, answer.query, kind)
                (row,) = await heard.until(DnsKind.RESPONSE, 1)
                assert (row["dns"], row["rcode"]) == (answer, answer.rcode)
            assert not lost(recorder)

            monkeypatch.setattr(reader, "DNS_TIMEOUT_NS", 400_000_000)
            heard = Heard(recorder)
            port = await asyncio.to_thread(ask, client, server, SILENT, wait=False)
            (row,) = await heard.until(DnsKind.TIMEOUT, 1)
            assert len(heard.rows(DnsKind.QUERY)) == 1
            assert (row["dns"], row["src_port"]) == (Dns(SILENT, "A"), port)
            asked = 4 * 2 + len(KINDS)
            assert status(recorder) == PartStatus(
                "dns",
                State.ON,
                f"port 53: {asked + 1} queries (0 sent again), {asked} responses, 1 unanswered",
            )


def carried(carriers: set[int], protocol: Protocol, rows: ConnectionBatch) -> bool:
    """Whether all `carriers` are conn_ids of rows of that protocol."""
    return carriers <= set(rows["conn_id"][rows["protocol"] == protocol].tolist())


@pytest.mark.parametrize("gso", [False, True], ids=["segments", "gso"])
async def test_long_answers_over_tcp_come_whole(gso: bool) -> None:
    with Cluster(gso=gso) as cluster, cluster.inside():
        client, server = cluster.add_pod(), cluster.add_pod()
        questions = [(LONG, "A"), ("api.example.", "A")]
        with dns_server.serving(server):
            async with recording(dns=True) as recorder:
                heard = Heard(recorder)
                await asyncio.to_thread(ask_by_tcp, client, server, questions)
                rows = await heard.until(DnsKind.RESPONSE, 2)
                await eventually(lambda: lost(recorder) == {"dns_truncated": 1})
    assert rows["id"].tolist() == [1, 2]
    # 19 kB; the first answers are kept
    assert rows["dns"][0].ips == tuple(MANY[:64])
    assert (rows["latency_ns"] > 0).all()


async def test_full_ring_is_counted(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "RING_BYTES", 4096)
    client, server = cluster.pods
    count = 300

    def flood() -> None:
        payload = b"\x00\x01\x01\x00\x00\x01" + bytes(6) + b"\x01x\x00\x00\x01\x00\x01"
        with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            for _ in range(count):
                asking.sendto(payload, (server.address, 53))

    async with recording(dns=True) as recorder:
        heard = Heard(recorder)
        await asyncio.to_thread(flood)
        await eventually(lambda: len(heard.rows()) + recorder.lost("dns_ring_full") == count)
        assert recorder.lost("dns_ring_full") > 0
        assert len(heard.rows()) > 0


async def test_switched_off(cluster: Cluster) -> None:
    client, server = cluster.pods
    with dns_server.serving(server):
        async with recording() as recorder:
            await asyncio.to_thread(ask, client, server, "api.example.")
            await recorder.until(lambda rows: len(rows) > 0)
            off = PartStatus("dns", State.OFF, "switched off by the setting `dns`")
            assert status(recorder) == off
    assert len(recorder.capture.take_dns()) == 0


def test_check_tells() -> None:
    (found,) = [check for check in preflight.checks(CaptureFilter()) if check.name == "DNS"]
    assert found.grade is Grade.OK
