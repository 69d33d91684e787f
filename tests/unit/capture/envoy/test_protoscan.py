"""Entries scanned with numpy, compared with protobuf's own decoding of each."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowd.capture.envoy.addresses import decode_address, response_flags
from flowd.capture.envoy.decode import METHODS, EntryDecoder, StreamIdentifier
from flowd.model.enums import EntryKind
from flowd.model.losses import Losses, Place
from flowd.wire.als.als_pb2 import (
    Addr,
    Common,
    Envelope,
    Flags,
    Http,
    Message,
    Req,
    Resp,
    Sock,
    Tcp,
)

QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(max_size=20) | st.sampled_from(["", "é", "x" * 200, "日本", "\x1b[2J", "a" * 130])
NUMBER = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 127, 128, 2**14, 2**21, 2**31])
BYTES64 = st.integers(0, 2**63 - 1) | st.sampled_from([0, 2**28, 2**42, 2**49, 2**63 - 1])


def an_address(host: str, port: int) -> bytes:
    return Addr(socket=Sock(address=host, port=port)).SerializeToString()


def some_flags(refused: bool, no_route: bool, reset: bool) -> bytes:
    return Flags(uf=refused, nr=no_route, dr=reset).SerializeToString()


def http_entry(common: Any, request: Any, response: Any, version: int) -> Http:
    return Http(
        common=Common(**common), request=Req(**request), response=Resp(**response), version=version
    )


def tcp_entry(common: Any, size: int) -> Tcp:
    return Tcp(common=Common(**common), volume={"received": size, "sent": size // 3})


def tls(sni: str) -> Any:
    return {"version": 3, "sni": sni}


def code(value: int) -> Any:
    return {"value": value}


HOSTS = st.sampled_from(["10.0.0.1", "2001:db8::1", "", "gateway"])
ADDRESS = st.builds(an_address, HOSTS, st.integers(0, 65535)) | st.sampled_from(
    [b"", b"\xff", b"\x0a\x00"]
)
MOMENT = st.none() | st.fixed_dictionaries(
    {"seconds": st.integers(0, 2**32), "nanos": st.integers(0, 10**9 - 1)}
)
FLAGS = st.builds(some_flags, st.booleans(), st.booleans(), st.booleans())
COMMON: Any = st.fixed_dictionaries(
    {
        **dict.fromkeys(("remote", "local", "up_remote", "up_local", "direct_remote"), ADDRESS),
        **dict.fromkeys(("cluster", "route_name", "stream_id", "up_transport_failure"), TEXT),
        **dict.fromkeys(("termination_details", "down_transport_failure"), TEXT),
        **dict.fromkeys(("start", "duration", "t_first_us_tx", "t_first_us_rx"), MOMENT),
        "t_last_ds_tx": MOMENT,
        "response_flags": FLAGS,
        "attempts": NUMBER,
        "type": st.integers(-3, 20) | st.just(6),
        "down_wire_sent": BYTES64,
        "tls": st.none() | st.builds(tls, TEXT),
        "custom_tags": st.dictionaries(TEXT, TEXT, max_size=2),
        "filter_state": st.lists(st.binary(max_size=40), max_size=2),
        "metadata": st.binary(max_size=40),
    }
)
REQUEST: Any = st.fixed_dictionaries(
    {
        **dict.fromkeys(("scheme", "authority", "path", "user_agent", "request_id"), TEXT),
        **dict.fromkeys(("original_path", "forwarded_for", "referer"), TEXT),
        "method": st.integers(-1, 12),
        "body_bytes": BYTES64,
        "headers": st.dictionaries(st.text("ABCxyz-", max_size=9), TEXT, max_size=3),
    }
)
RESPONSE: Any = st.fixed_dictionaries(
    {"code": st.builds(code, NUMBER), "body_bytes": BYTES64, "details": TEXT}
)
HTTP = st.builds(http_entry, COMMON, REQUEST, RESPONSE, st.integers(0, 6))
TCP = st.builds(tcp_entry, COMMON, BYTES64)


def plain(entry: Http | Tcp) -> dict[str, Any]:
    """The columns of an entry, field by field."""
    common = entry.common
    request, response = (
        (entry.request, entry.response) if isinstance(entry, Http) else (Req(), Resp())
    )
    bits = int(response_flags([common.response_flags])[0])
    is_http = isinstance(entry, Http)
    volume = None if isinstance(entry, Http) else entry.volume
    status, kind = response.code.value, common.type
    found: dict[str, Any] = {
        "kind": EntryKind.HTTP if is_http else EntryKind.TCP,
        "status": status if status <= 0xFFFF else 0,
        "attempts": common.attempts if common.attempts <= 0xFFFF else 0,
        "log_type": max(kind, 0),
        "http_version": entry.version if isinstance(entry, Http) else 0,
        "bytes_received": volume.received if volume else request.body_bytes,
        "bytes_sent": volume.sent if volume else response.body_bytes,
        "flags": max(bits, 0),
        "method": METHODS[request.method] if 0 <= request.method < len(METHODS) else "",
        "host": request.authority,
        "details": response.details if is_http else common.termination_details,
        "request_id": request.request_id or common.stream_id,
        "sni": common.tls.sni,
        "transport_failure": common.up_transport_failure or common.down_transport_failure,
    }
    found["headers"] = {name.lower(): text for name, text in request.headers.items()}
    for name in ("scheme", "path", "original_path", "user_agent"):
        found[name] = getattr(request, name)
    for name in ("cluster", "route_name"):
        found[name] = getattr(common, name)
    sides = {"client": common.direct_remote or common.remote, "local": common.local}
    for side, raw in (sides | {"up_local": common.up_local, "up_remote": common.up_remote}).items():
        packed, port, _ = decode_address(raw)
        found[f"{side}_addr"], found[f"{side}_port"] = packed, port
    return found


@QUICK
@given(st.lists(HTTP, max_size=4), st.lists(TCP, max_size=4))
def test_columns_are_those_of_the_plain_decode(http: list[Http], tcp: list[Tcp]) -> None:
    message = Message()
    message.http.entries.extend(http)
    message.tcp.entries.extend(tcp)
    losses = Losses()
    decoder = EntryDecoder(losses, final_only=False)
    decoder.add(Envelope.FromString(message.SerializeToString()), StreamIdentifier("n"), 0)
    rows = decoder.take()
    assert len(rows) == len(http) + len(tcp)
    for row, entry in zip(rows, [*http, *tcp], strict=True):
        for name, value in plain(entry).items():
            assert (row[name].tobytes() if name.endswith("_addr") else row[name]) == value, name
        lengths = [part.seconds * 10**9 + part.nanos for part in (entry.common.start,)]
        assert row["time_ns"] == lengths[0]
        taken = (
            entry.common.duration if entry.common.duration.ByteSize() else entry.common.t_last_ds_tx
        )
        expected = taken.seconds * 10**9 + taken.nanos
        assert row["duration_ns"] in (expected, 0)
    assert (Place.ACCESS_LOG, "malformed") not in losses.snapshot()


@QUICK
@given(st.lists(st.tuples(HTTP | TCP, st.integers(0, 400), st.integers(0, 255)), max_size=5))
def test_damaged_entries_cost_no_other_one(changes: list[tuple[Http | Tcp, int, int]]) -> None:
    envelope, sound = Envelope(), 0
    for number, (entry, at, octet) in enumerate(changes):
        data = bytearray(entry.SerializeToString())
        if data:
            data[at % len(data)] = octet
        entries = envelope.http.entries if isinstance(entry, Http) else envelope.tcp.entries
        entries.append(bytes(data))
        good = Http(common=Common(stream_id=f"good {number}"))
        envelope.http.entries.append(good.SerializeToString())
        sound += 1
    losses = Losses()
    decoder = EntryDecoder(losses, final_only=False)
    decoder.add(envelope, StreamIdentifier(), 0)
    rows = decoder.take()
    lost = losses.snapshot().get((Place.ACCESS_LOG, "malformed"), 0)
    assert len(rows) == sound + len(changes) - lost
    ids = rows["request_id"].tolist()
    assert [name for name in ids if name in {f"good {n}" for n in range(sound)}][:1] == [
        "good 0"
    ] * (sound > 0)
    assert all(f"good {number}" in ids for number in range(sound))


@QUICK
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_an_entry_only_where_protobuf_says_so(every: list[bytes]) -> None:
    losses = Losses()
    decoder = EntryDecoder(losses, final_only=False)
    decoder.add(Envelope(http={"entries": every}), StreamIdentifier(), 0)
    taken = len(decoder.take())
    assert taken >= sum(map(is_entry, every))
    assert taken + losses.snapshot().get((Place.ACCESS_LOG, "malformed"), 0) == len(every)


def is_entry(raw: bytes) -> bool:
    """Whether protobuf accepts the message, and it has only fields of Envoy's messages."""
    try:
        entry = Http.FromString(raw)
    except DecodeError:
        return False
    return len(entry.SerializeToString()) == len(raw) and not any(octet > 0x7F for octet in raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a\x05ab",  # longer than the message
        b"\x0a\xff\xff\xff\xff\x0f",  # 4 GB
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08" + b"\xff" * 11,  # an unterminated varint
        b"\x10",  # a missing number
        b"\x80",
        b"\x00\x00",  # field 0
        b"\x0b\x0c",  # a group
        b"\x0f",  # wire type 7
        b"\x0d\x00",  # a fixed32 of one byte
        b"\x0a\x04\x7a\x02\xff\xfe",  # a cluster that is not UTF-8
        b"\x10\x01" * 2000,  # more than MAX_FIELDS fields
        b"\x0a\x03\x2a\x01\x08",  # a time cut short
        b"\x1a\x04\x6a\x02\x0a\x05",  # a header cut short
    ],
)
def test_what_is_no_entry(raw: bytes) -> None:
    good = Http(common=Common(stream_id="good")).SerializeToString()
    losses = Losses()
    decoder = EntryDecoder(losses)
    decoder.add(Envelope(http={"entries": [raw, good, raw]}), StreamIdentifier(), 0)
    assert decoder.take()["request_id"].tolist() == ["good"]
    assert losses.snapshot()[Place.ACCESS_LOG, "malformed"] == 2
    assert decoder.seen == 1
