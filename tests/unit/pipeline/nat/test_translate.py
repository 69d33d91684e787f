"""NatTranslator: rows get the right translation in time, and no row is lost."""

import asyncio

import numpy as np
import pytest

from flowd.model.address import pack, unpack
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind
from flowd.model.enums import Nat, Protocol, Reason
from flowd.model.losses import Losses, Place
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.translation import TRANSLATION, TranslationUpdate
from flowd.pipeline.nat import translate
from flowd.pipeline.nat.table import KEEP_NS, NatTable
from flowd.pipeline.nat.translate import NatTranslator
from flowd.runtime.queue import Queue
from flowd.runtime.tasks import stage

S = 10**9
CLIENT, SERVICE, NODE = "10.0.0.1", "10.96.0.1", "10.0.9.9"


def translation_update(
    *translations: tuple[int, str] | tuple[int, str, bool],
    since: int,
    until: int,
    complete: bool = False,
) -> TranslationUpdate:
    """An update of translations (client port, backend, ended); the source becomes the node."""
    rows = np.zeros(len(translations), TRANSLATION)
    for row, (port, backend, *ended) in zip(rows, translations, strict=True):
        ends = (("src", CLIENT, port), ("dst", SERVICE, 80))
        seen = (("nat_src", NODE, port + 1), ("nat_dst", backend, 8080))
        for name, address, number in (*ends, *seen):
            row[f"{name}_addr"] = np.frombuffer(pack(address), "u1")
            row[f"{name}_port"] = number
        row["protocol"], row["ended"] = Protocol.TCP, bool(ended and ended[0])
    return TranslationUpdate(rows, since, until, complete)


def record(
    port: int,
    *,
    conn_id: int = 1,
    first: int = 0,
    time: int = 0,
    reason: Reason = Reason.NEW,
    to: tuple[str, int] = (SERVICE, 80),
    of: str = CLIENT,
    endpoint: int = 0,
) -> ConnectionBatch:
    rows = empty_connections(1)
    for name, address, number in (("src", of, port), ("dst", *to)):
        rows[f"{name}_addr"] = np.frombuffer(pack(address), "u1")
        rows[f"{name}_port"] = number
    rows["conn_id"], rows["reason"], rows["protocol"] = conn_id, reason, Protocol.TCP
    rows["first_ns"], rows["time_ns"] = first, time or first
    rows["dst_endpoint"] = endpoint
    return rows


class TranslatorUnit:
    """A translator with one Service, and the updates that it polls next."""

    def __init__(self, limit: int = 1000) -> None:
        self.directory, self.losses = Directory(), Losses()
        self.service = self.directory.endpoints.index(Endpoint(EndpointKind.SERVICE, 0, name="a"))
        self.next: list[TranslationUpdate] = []
        self.translator = NatTranslator(self.directory, self.losses, self.take, limit)

    def take(self) -> list[TranslationUpdate]:
        updates, self.next = self.next, []
        return updates

    def nat_columns(self, rows: ConnectionBatch) -> list[tuple[int, str, int, str, int]]:
        return [
            (
                int(row["nat"]),
                unpack(bytes(row["nat_src_addr"])),
                int(row["nat_src_port"]),
                unpack(bytes(row["nat_dst_addr"])),
                int(row["nat_dst_port"]),
            )
            for row in self.translator.translate(rows)
        ]


BEFORE = (Nat.BEFORE, NODE, 5001, "10.1.0.1", 8080)
AFTER = (Nat.AFTER, CLIENT, 5000, SERVICE, 80)
NONE = (Nat.NONE, "", 0, "", 0)


def test_both_sides_whichever_end_flowd_takes_for_the_initiator() -> None:
    unit = TranslatorUnit()
    unit.next = [translation_update((5000, "10.1.0.1"), since=1 * S, until=2 * S)]
    time = 3 * S // 2
    assert unit.nat_columns(record(5000, first=time)) == [BEFORE]
    assert unit.nat_columns(record(5001, of=NODE, to=("10.1.0.1", 8080), first=time)) == [AFTER]
    turned = record(80, of=SERVICE, to=(CLIENT, 5000), first=time)
    assert unit.nat_columns(turned) == [(Nat.BEFORE, "10.1.0.1", 8080, NODE, 5001)]
    assert unit.nat_columns(record(5002, first=time)) == [NONE]


def test_a_tuple_used_again_keeps_each_life_apart() -> None:
    unit = TranslatorUnit()
    first = translation_update((5000, "10.1.0.1"), since=1 * S, until=2 * S)
    second = translation_update(
        (5000, "10.1.0.1", True), (5000, "10.1.0.2"), since=2 * S, until=3 * S
    )
    unit.next = [first]
    assert unit.nat_columns(record(5000, first=3 * S // 2)) == [BEFORE]
    unit.next = [second]
    again = (Nat.BEFORE, NODE, 5001, "10.1.0.2", 8080)
    assert unit.nat_columns(record(5000, first=5 * S // 2, conn_id=2)) == [again]
    late = record(5000, first=3 * S // 2, time=9 * S, reason=Reason.END)
    assert unit.nat_columns(late) == [BEFORE]


def test_lives_within_one_look_go_to_their_connections_in_order() -> None:
    """Also translations whose connections are read in a later batch."""
    unit = TranslatorUnit()
    backends = [f"10.1.0.{number}" for number in range(1, 40)]
    what = [(5000, b, over) for b in backends for over in (False, True)]
    unit.next = [translation_update(*what, since=1 * S, until=2 * S)]
    times = [S + number * S // 50 for number in range(len(backends))]
    early = [record(5000, first=time, conn_id=n) for n, time in enumerate(times[:20])]
    late = [record(5000, first=time, conn_id=20 + n) for n, time in enumerate(times[20:])]
    assert [row[3] for row in unit.nat_columns(np.concatenate(early))] == backends[:20]
    assert [row[3] for row in unit.nat_columns(np.concatenate(late))] == backends[20:]
    ends = [record(5000, first=time, time=3 * S, reason=Reason.END) for time in times]
    assert [row[3] for row in unit.nat_columns(np.concatenate(ends))] == backends


def test_what_ended_is_kept_a_moment_and_then_forgotten() -> None:
    table = NatTable(10)
    table.update(translation_update((5000, "10.1.0.1"), since=S, until=S))
    table.update(translation_update((5000, "10.1.0.1", True), since=S, until=2 * S))
    assert (len(table), table.live) == (1, 0)
    table.update(translation_update(since=2 * S, until=3 * S + KEEP_NS))
    assert len(table) == 0


def test_a_list_adds_what_was_missed_and_ends_what_is_gone() -> None:
    unit = TranslatorUnit()
    unit.next = [translation_update((5000, "10.1.0.1"), (6000, "10.1.0.1"), since=S, until=S)]
    unit.translator.release(False)
    every = (6000, "10.1.0.1"), (7000, "10.1.0.2"), (7000, "10.1.0.2")
    unit.next = [translation_update(*every, since=0, until=9 * S, complete=True)]
    unit.translator.release(False)
    assert (len(unit.translator.table), unit.translator.table.live) == (3, 2)
    assert unit.nat_columns(record(7000, first=S))[0][3] == "10.1.0.2"
    assert unit.nat_columns(record(5000, first=20 * S)) == [NONE]


def test_a_full_table_forgets_what_is_over_first_and_counts() -> None:
    unit = TranslatorUnit(limit=100)
    over = [(port, "10.1.0.1") for port in range(1, 61)]
    unit.next = [
        translation_update(*over, since=S, until=S),
        translation_update(*((*one, True) for one in over), since=S, until=2 * S),
        translation_update(
            *((port, "10.1.0.1") for port in range(1000, 1060)), since=2 * S, until=3 * S
        ),
    ]
    unit.translator.release(False)
    table = unit.translator.table
    assert (table.live, len(table)) == (60, 90)
    unit.translator.release(False)
    assert unit.losses.snapshot()[Place.CAPTURE, "translations_full"] == 30


def test_the_first_record_of_a_service_connection_waits_for_its_translation() -> None:
    unit = TranslatorUnit()
    first = record(5000, first=S, endpoint=unit.service)
    other = record(5001, first=S, conn_id=2)
    assert unit.nat_columns(np.concatenate([first, other])) == [NONE]
    assert not len(unit.translator.release(False))
    unit.next = [translation_update((5000, "10.1.0.1"), since=S, until=S)]
    (row,) = unit.translator.release(False)
    assert (row["nat"], row["reason"]) == (Nat.BEFORE, Reason.NEW)
    assert not len(unit.translator.release(True))


def test_no_longer_than_the_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = TranslatorUnit()
    now = 1000 * S
    monkeypatch.setattr(translate.time, "monotonic_ns", lambda: now)
    assert not unit.nat_columns(record(5000, first=S, endpoint=unit.service))
    now += translate.HOLD_NS - 1
    assert not len(unit.translator.release(False))
    now += 1
    assert len(unit.translator.release(False)) == 1


def test_never_behind_the_next_record_of_its_connection_and_never_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unit = TranslatorUnit()
    first = record(5000, first=S, endpoint=unit.service)
    second = record(5000, first=S, reason=Reason.END, endpoint=unit.service)
    assert not unit.nat_columns(first)
    assert list(unit.translator.translate(second)["reason"]) == [Reason.NEW, Reason.END]
    both = np.concatenate([first, second])
    assert list(unit.translator.translate(both)["reason"]) == [Reason.NEW, Reason.END]
    monkeypatch.setattr(translate, "HOLD_ROWS", 3)
    many = [record(5000 + n, conn_id=9 + n, first=S, endpoint=unit.service) for n in range(5)]
    assert list(unit.translator.translate(np.concatenate(many))["conn_id"]) == [9, 10]
    assert list(unit.translator.release(True)["conn_id"]) == [11, 12, 13]


async def test_the_stage_asks_for_what_was_held_back_and_at_the_end_for_all() -> None:
    losses = Losses()
    source: Queue[ConnectionBatch] = Queue("in", 100, losses)
    out: Queue[ConnectionBatch] = Queue("out", 100, losses)
    asked: list[bool] = []

    def late(final: bool) -> ConnectionBatch:
        asked.append(final)
        return record(1, conn_id=len(asked))

    task = asyncio.create_task(stage(source, out, lambda batch: batch, losses, late))
    async with asyncio.timeout(20):
        assert (await out.get())["conn_id"] == [1]
        source.put(record(1, conn_id=77))
        while (await out.get())["conn_id"] != [77]:
            pass
        source.close()
        await task
    assert asked[-1] is True
    assert not any(asked[:-1])


async def test_the_stage_asks_more_and_more_seldom_while_nothing_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = Losses()
    source: Queue[ConnectionBatch] = Queue("in", 100, losses)
    out: Queue[ConnectionBatch] = Queue("out", 100, losses)
    waited: list[float] = []
    enough = asyncio.Event()
    real = asyncio.timeout

    def at_once(seconds: float) -> asyncio.Timeout:
        waited.append(seconds)
        if len(waited) == 5:
            source.put(record(1))
        if len(waited) == 8:
            enough.set()
        return real(None if enough.is_set() else 0)

    def late(_: bool) -> ConnectionBatch:
        return empty_connections()

    monkeypatch.setattr("flowd.runtime.tasks.asyncio.timeout", at_once)
    task = asyncio.create_task(stage(source, out, lambda batch: batch, losses, late))
    await enough.wait()
    source.close()
    await task
    assert waited[:4] == [0.1, 0.2, 0.4, 0.4]
    assert waited[5:8] == [0.1, 0.2, 0.4]
