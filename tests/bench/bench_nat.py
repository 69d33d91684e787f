"""Cost of NAT lookup: parse conntrack events, update the table, find translations of rows.

    python -m tests.bench.bench_nat

Events are TCP connections to one Service, spread over 1,000 pods; half of the rows have the 5-tuple
of the client's side, half that of the pod's side.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from flowd.model.directory import Directory
from flowd.model.enums import Protocol, Reason
from flowd.model.losses import Losses
from flowd.model.records.connection import empty_connections
from flowd.model.records.translation import TRANSLATION, TranslationUpdate
from flowd.pipeline.nat.translate import NatTranslator
from flowd_bpf.conntrack.parse import parse
from tests.unit.bpf.test_conntrack_parse import message, side

RUNS, EVENTS, LIVE, ROWS = 7, 10_000, 100_000, 100_000
SECOND = 10**9


def conntrack_messages(count: int) -> bytes:
    """Conntrack messages of new connections; all have the same length."""
    return b"".join(
        message(
            side(f"10.0.{n >> 14 & 255}.1", "10.96.0.1", 6, (n & 16383 | 16384, 80)),
            side(f"10.1.{n % 1000 >> 8}.{n % 1000 & 255}", "10.0.0.9", 6, (8080, n & 65535)),
        )
        for n in range(count)
    )


def measure(name: str, count: int, run: Callable[[], object]) -> None:
    """Print the median of several runs."""
    spent: list[float] = []
    for _ in range(RUNS):
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    median = statistics.median(spent)
    print(f"| {name} | {median / count * 1e6:.2f} µs | {count / median:,.0f} |")


def main() -> None:
    """Print the table."""
    raw = np.frombuffer(conntrack_messages(LIVE), np.uint8)
    starts = np.arange(0, len(raw), len(raw) // LIVE)
    entries = parse(raw, starts)
    rows = np.empty(LIVE, TRANSLATION)
    for column in TRANSLATION.names or ():
        rows[column] = entries[column]
    updates = [TranslationUpdate(rows, SECOND, SECOND)]
    translator = NatTranslator(
        Directory(), Losses(), lambda: [updates.pop()] if updates else [], 4 * LIVE
    )
    translator.release(False)

    def fill() -> None:
        made = NatTranslator(Directory(), Losses(), list, LIVE)
        for begin in range(0, LIVE, EVENTS):
            made.table.update(TranslationUpdate(rows[begin : begin + EVENTS], SECOND, SECOND))

    batch = empty_connections(ROWS)
    for column in ("src_addr", "dst_addr", "src_port", "dst_port"):
        batch[column] = rows[column]
        batch[column][1::2] = rows[f"nat_{column}"][1::2]
    batch["protocol"], batch["reason"] = Protocol.TCP, Reason.ACTIVE
    batch["first_ns"] = batch["time_ns"] = SECOND
    assert (translator.translate(batch)["nat"] != 0).all()
    other = batch.copy()
    other["src_port"] = 1
    print("| step | each | a second |\n| --- | --- | --- |")
    measure(f"read {EVENTS:,} events", EVENTS, lambda: parse(raw, starts[:EVENTS]))
    measure(f"take in {LIVE:,} in steps of {EVENTS:,}", LIVE, fill)
    measure(f"rows that {LIVE:,} translations fit", ROWS, lambda: translator.translate(batch))
    measure("rows that none fits", ROWS, lambda: translator.translate(other))
    second = batch[:1000].copy()
    measure("the same, 1,000 rows at a time", 1000, lambda: translator.translate(second))


if __name__ == "__main__":
    main()
