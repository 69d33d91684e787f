"""Access-log messages as REQUEST rows: a real Envoy's compared with its file log, and odd ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.capture.envoy.decode import AlsLimits, EntryDecoder, StreamIdentifier, stream_identifier
from flowd.model.address import pack, unpack
from flowd.model.enums import RESPONSE_FLAGS, EntryKind, HttpVersion
from flowd.model.losses import Losses, Place
from flowd.model.records.request import REQUEST, RequestBatch
from flowd.wire.als.als_pb2 import (
    Addr,
    Common,
    Envelope,
    Flags,
    Http,
    Message,
    Req,
    Sock,
    Tcp,
)

DATA = Path(__file__).parents[3] / "data" / "als"
SECOND = 10**9
NOW = 1_790_000_000 * SECOND
SOURCE = StreamIdentifier("pod-a", "infra/public", "http")


def recorded() -> Iterator[Envelope]:
    data, at = (DATA / "envoy.als.bin").read_bytes(), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield Envelope.FromString(data[at + 4 : at + 4 + size])
        at += 4 + size


def decode(*entries: Http | Tcp, limits: AlsLimits | None = None) -> tuple[RequestBatch, Losses]:
    message = Message()
    message.http.entries.extend(entry for entry in entries if isinstance(entry, Http))
    message.tcp.entries.extend(entry for entry in entries if isinstance(entry, Tcp))
    losses = Losses()
    decoder = EntryDecoder(losses, limits or AlsLimits())
    decoder.add(received(message), SOURCE, NOW)
    return decoder.take(), losses


def received(message: Message) -> Envelope:
    return Envelope.FromString(message.SerializeToString())


def common(**fields: Any) -> Common:
    entry = Common(type=6, stream_id="s", **fields)
    if not entry.HasField("start"):
        entry.start.seconds = NOW // SECOND - 1
    return entry


def lost(losses: Losses) -> dict[str, int]:
    return {reason: n for (place, reason), n in losses.snapshot().items() if place == "access_log"}


def test_real_entries_say_what_envoy_wrote_to_its_file() -> None:
    losses, source = Losses(), StreamIdentifier()
    decoder = EntryDecoder(losses)
    for message in recorded():
        source = stream_identifier(message, source)
        decoder.add(message, source, 0)
    keys, *lines = map(json.loads, (DATA / "envoy.file.jsonl").read_text().splitlines())
    written = {line[0]: dict(zip(keys, line, strict=True)) for line in lines}
    rows = decoder.take()
    assert len(rows) == decoder.seen == len(written) == 87
    assert decoder.intermediate == 17
    assert not losses.total()
    for row in rows:
        wrote = written[row["request_id"]]
        assert facts(row) == {**facts_written(wrote), "duration": facts(row)["duration"]}
        assert row["duration_ns"] // 10**6 in (wrote["duration"], wrote["duration"] + 1)
        assert row["headers"].get("x-flowd-seq") == wrote["seq"]
    assert set(rows["node_id"]) == {"envoy-eg-infra-public-0"}
    assert set(rows["node_cluster"]) == {"infra/public"}


def facts(row: Any) -> dict[str, Any]:
    def socket(side: str) -> str | None:
        port = int(row[f"{side}_port"])
        return f"{unpack(row[f'{side}_addr'].tobytes())}:{port}" if port else None

    flags = [name for n, name in enumerate(RESPONSE_FLAGS) if int(row["flags"]) >> n & 1]
    texts = ("method", "scheme", "host", "path", "user_agent", "cluster", "route_name")
    return {
        "start": int(row["time_ns"]) // 1000,
        "duration": int(row["duration_ns"]) // 10**6,
        "upstream": int(row["upstream_ns"]) // 1000 or None,
        "flags": ",".join(flags) or "-",
        "kind": EntryKind(row["kind"]).name,
        "version": HttpVersion(row["http_version"]).name,
        "sockets": [socket(side) for side in ("client", "local", "up_local", "up_remote")],
        **{name: int(row[name]) for name in ("status", "bytes_received", "bytes_sent")},
        "attempts": int(row["attempts"]) or None,
        "details": row["details"] or None,
        "sni": row["sni"] or None,
        **{name: row[name] or None for name in texts},
    }


def facts_written(wrote: dict[str, Any]) -> dict[str, Any]:
    versions = {None: "UNSPECIFIED", "HTTP/1.1": "HTTP11", "HTTP/2": "HTTP2"}
    sides = ("downstream_direct_remote", "downstream_local", "upstream_local", "upstream_remote")
    return {
        "start": int(wrote["start_time_s_6f"].replace(".", "")),
        "upstream": wrote["common_duration_us_tx_beg_us_rx_beg_us"],
        "flags": wrote["response_flags"],
        "kind": "TCP" if wrote["access_log_type"] == "TcpConnectionEnd" else "HTTP",
        "version": versions[wrote["protocol"]],
        "sockets": [wrote[f"{side}_address"] for side in sides],
        "status": wrote["response_code"],
        "bytes_received": wrote["bytes_received"],
        "bytes_sent": wrote["bytes_sent"],
        "attempts": wrote["upstream_request_attempt_count"] or None,
        "details": wrote["response_code_details"],
        "sni": wrote["requested_server_name"],
        "method": wrote["req_method"],
        "scheme": wrote["req_scheme"],
        "host": wrote["req_authority"],
        "path": wrote["path"],
        "user_agent": wrote["req_user_agent"],
        "cluster": wrote["upstream_cluster_raw"],
        "route_name": wrote["route_name"],
    }


def test_source_is_kept_for_the_messages_without_an_identifier() -> None:
    first = Message()
    first.identifier.log_name = "l" * 9000
    first.identifier.node.id = "n"
    known = stream_identifier(received(first), StreamIdentifier(), AlsLimits(text=5))
    assert known == StreamIdentifier("n", "", "lllll")
    assert stream_identifier(Envelope(), known) is known


def test_headers_are_lower_case_and_give_the_trace() -> None:
    headers = {"Traceparent": "00-a-b-01", "X-A": "b"}
    (row,) = decode(Http(common=common(), request=Req(headers=headers)))[0]
    assert row["headers"] == {"traceparent": "00-a-b-01", "x-a": "b"}
    assert row["traceparent"] == "00-a-b-01"
    assert (row["node_id"], row["node_cluster"], row["log_name"]) == SOURCE


@pytest.mark.parametrize("bit", range(len(RESPONSE_FLAGS)))
def test_each_response_flag(bit: int) -> None:
    flags = Flags()
    if RESPONSE_FLAGS[bit] == "UAEX":
        flags.uaex.SetInParent()
    else:
        setattr(flags, RESPONSE_FLAGS[bit].lower(), True)
    (row,) = decode(Http(common=common(response_flags=flags.SerializeToString())))[0]
    assert row["flags"] == 1 << bit


@pytest.mark.parametrize(
    ("kind", "log_type", "taken"),
    [
        *((Http, number, number in (0, 6)) for number in (0, 4, 5, 6, 7, 9, 10)),
        *((Tcp, number, number in (0, 3)) for number in (0, 1, 2, 3, 11, 14)),
    ],
)
def test_only_ends_are_entries(kind: type[Http | Tcp], log_type: int, taken: bool) -> None:
    losses = Losses()
    decoder = EntryDecoder(losses)
    entry = kind(common=Common(type=log_type, start={"seconds": NOW // SECOND}))
    message = Message()
    (message.http if kind is Http else message.tcp).entries.append(entry)  # type: ignore[arg-type]
    decoder.add(received(message), SOURCE, NOW)
    assert len(decoder.take()) == taken
    assert (decoder.seen, decoder.intermediate) == (taken, not taken)
    assert not losses.total(), "not a loss"


def test_tcp_entry() -> None:
    entry = Tcp(common=common(termination_details="because"), volume={"received": 3, "sent": 4})
    entry.common.type = 3
    entry.common.tls.sni = "a.example"
    (row,) = decode(entry)[0]
    names = ("kind", "bytes_received", "bytes_sent", "details", "sni", "request_id", "method")
    assert [row[n] for n in names] == [EntryKind.TCP, 3, 4, "because", "a.example", "s", ""]


@pytest.mark.parametrize(
    ("fields", "reason", "kept"),
    [
        ({"duration": {"seconds": -1}}, "bad_duration", {"duration_ns": 0}),
        ({"duration": {"seconds": 2**62}}, "bad_duration", {"duration_ns": 0}),
        ({"start": {"seconds": 1}}, "bad_time", {"time_ns": NOW}),
        (
            {"start": {"seconds": 1}, "duration": {"seconds": 5}},
            "bad_time",
            {"time_ns": NOW - 5 * SECOND, "duration_ns": 5 * SECOND},
        ),
        ({"start": {"seconds": -(2**62)}}, "bad_time", {"time_ns": NOW}),
        ({"start": {"seconds": 2**62, "nanos": -1}}, "bad_time", {"time_ns": NOW}),
        (
            {"t_first_us_tx": {"seconds": 2}, "t_first_us_rx": {"seconds": 1}},
            "bad_duration",
            {"upstream_ns": 0},
        ),
        ({"local": b"\xff"}, "bad_address", {"local_port": 0}),
        ({"local": b"\xff" * 9000}, "bad_address", {"local_port": 0}),
        ({"response_flags": b"\xff"}, "bad_flags", {"flags": 0}),
        ({"cluster": "c" * 9000}, "oversize_text", {"cluster": "c" * 8192}),
    ],
)
def test_odd_values_are_counted_and_made_harmless(
    fields: dict[str, Any], reason: str, kept: dict[str, Any]
) -> None:
    good = Http(common=common(cluster="good"))
    rows, losses = decode(Http(common=common(**fields)), good)
    assert lost(losses) == {reason: 1}
    assert {name: rows[0][name] for name in kept} == kept
    assert rows[1]["cluster"] == "good"


@pytest.mark.parametrize(
    ("address", "port", "bad"),
    [("10.0.0.1", 80, 0), ("2001:db8::1", 65535, 0), ("10.0.0.1", 65536, 1), ("gateway", 80, 1)],
)
def test_addresses(address: str, port: int, bad: int) -> None:
    raw = Addr(socket=Sock(address=address, port=port)).SerializeToString()
    (row,), losses = decode(Http(common=common(direct_remote=raw)))
    assert row["client_port"] == (0 if bad else port)
    if address != "gateway":
        assert row["client_addr"].tobytes() == pack(address)
    assert lost(losses).get("bad_address", 0) == bad


def test_message_and_headers_are_bounded() -> None:
    limits = AlsLimits(entries=3, headers=2, text=4)
    headers = {"aaaaaa": "b", "c": "dddddd", "e": "f"}
    entries = [Http(common=common(), request=Req(headers=headers)) for _ in range(5)]
    rows, losses = decode(*entries, limits=limits)
    assert len(rows) == 3
    for row in rows:
        assert len(row["headers"]) == 2
        assert all(len(name) <= 4 and len(text) <= 4 for name, text in row["headers"].items())
    assert lost(losses) == {"too_many_entries": 2, "oversize_text": 3}


def test_nothing_gives_an_empty_array() -> None:
    decoder = EntryDecoder(Losses())
    decoder.add(Envelope(), SOURCE, NOW)
    assert decoder.take().dtype == REQUEST
    assert len(decoder.take()) == 0


sample = Message.FromString(next(recorded()).SerializeToString())
sample.ClearField("identifier")
del sample.http.entries[3:]
SAMPLE = sample.SerializeToString()


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=30))
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_are_refused_or_give_sound_rows(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for at, octet in changes:
        data[at] = octet
    losses = Losses()
    decoder = EntryDecoder(losses)
    try:
        message = Envelope.FromString(bytes(data))
    except DecodeError:
        return
    decoder.add(message, stream_identifier(message, SOURCE), NOW)
    rows = decoder.take()
    assert len(rows) == decoder.seen
    year = 366 * 24 * 3600 * SECOND
    assert (rows["time_ns"] + rows["duration_ns"] <= NOW + 3600 * SECOND).all()
    assert (rows["duration_ns"] <= year).all()
    assert (rows["upstream_ns"] <= year).all()
    assert set(losses.snapshot()) <= {
        (Place.ACCESS_LOG, reason)
        for reason in (
            *("bad_time", "bad_duration", "bad_address", "bad_flags", "oversize_text"),
            "malformed",
        )
    }
