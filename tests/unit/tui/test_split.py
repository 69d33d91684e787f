"""Latency split of a route's requests in the Gateways view."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowd.wire.flowd import agent_pb2
from flowd_tui.board import Options
from flowd_tui.chrome import detail_lines
from flowd_tui.data.store import AgentState, TopStore
from flowd_tui.data.traffic import LatencySplit, Totals
from flowd_tui.draw.cells import Line, line_width
from flowd_tui.draw.glyphs import UTF8
from flowd_tui.draw.theme import PLAIN, STYLES
from flowd_tui.views.base import RowDetail, ViewQuery
from flowd_tui.views.gateways import GatewayRow, GatewaysView
from flowd_tui.views.split import bar_cells, split_forms, unknown_split
from tests.fakes import top_data
from tests.fakes.top_data import BASE_NS
from tests.fakes.top_screen import filled_store, screen

SIZES = [(60, 20), (80, 24), (180, 50)]
KNOWN = Totals(requests=100, split=LatencySplit(84, 84 * 2400, 84 * 1300, 84 * 1400, 84 * 12000))


def texts(lines: list[Line]) -> list[str]:
    return ["".join(span.text for span in line) for line in lines]


def pane(totals: Totals, width: int) -> list[str]:
    detail = RowDetail("t", [], [], split_forms(totals))
    return [line.rstrip() for line in texts(detail_lines(detail, width, 4, UTF8))[1:]]


def served(*splits: LatencySplit) -> TopStore:
    """A store with one second of ten requests for each split; a split without requests is omitted."""
    store = TopStore()
    store.connected()
    store.set_topology(top_data.topology())
    for index, split in enumerate(splits):
        message = agent_pb2.Snapshot(interval_ns=10**9)
        message.time.FromNanoseconds(BASE_NS + index * 10**9)
        row = message.routes.add(
            gateway_namespace="infra", gateway="public", listener="http", kind="HTTPRoute",
            namespace="shop", name="shop", rule=0, backend_namespace="shop", backend="web",
            backend_port=80, requests=10, status={200: 10},
        )  # fmt: skip
        if split.requests:
            names = ("client_network_us", "gateway_us", "pod_network_us", "pod_us")
            row.split.requests = split.requests
            for name, value in zip(names, split.parts, strict=True):
                setattr(row.split, name, value)
        store.add_second(message)
    return store


def rows_of(store: TopStore) -> list[GatewayRow]:
    return list(GatewaysView().rows(store.snapshot(), ViewQuery()))


def test_the_line_by_width() -> None:
    long = "split client net 2.4  gateway 1.3  pod net 1.4  pod 12 ms"
    assert pane(KNOWN, 120) == [f" {long}  cccggnnppppppppppppppppp  of 84% of requests"]
    assert pane(KNOWN, 90) == [f" {long}  ccgnpppppppp  of 84%"]
    assert pane(KNOWN, 80) == [f" {long}  of 84%"]
    assert pane(KNOWN, 60) == [" split client 2.4 gw 1.3 pod net 1.4 pod 12 ms of 84%"]
    assert pane(KNOWN, 160) == [f"{' ' * 80}│ {long}  of 84%"]


def test_the_widest_numbers_of_the_narrowest_terminal() -> None:
    totals = Totals(requests=1, split=LatencySplit(1, 260, 9_999_000, 260, 260))
    assert pane(totals, 60) == [" split client 0.26 gw 9999 pod net 0.26 pod 0.26 ms of 100%"]
    endless = Totals(requests=1, split=LatencySplit(1, 2**40, 2**40, 2**40, 2**40))
    (cut,) = pane(endless, 60)
    assert len(cut) <= 60
    assert cut.endswith("…")


@pytest.mark.parametrize(
    ("known", "of", "said"),
    [(1, 1, "100%"), (999, 1000, "99%"), (1, 1000, "<1%"), (5, 4, "100%"), (1, 0, "100%")],
)
def test_how_many_requests_tell_it(known: int, of: int, said: str) -> None:
    (line,) = pane(Totals(requests=of, split=LatencySplit(known, known, 0, 0, 0)), 80)
    assert line.endswith(f" of {said}")


def test_nothing_is_known() -> None:
    assert split_forms(Totals(requests=5)) == []
    zero = Totals(requests=5, split=LatencySplit(5))
    assert "pod net 0  pod 0 ms" in pane(zero, 120)[0]


@given(st.lists(st.integers(0, 2**70), min_size=4, max_size=4), st.integers(1, 40))
def test_a_bar_is_shared_out(parts: list[int], width: int) -> None:
    cells = bar_cells(tuple(parts), width)
    assert sum(cells) == (width if any(parts) else 0)
    for part, length in zip(parts, cells, strict=True):
        assert abs(length - width * part / max(sum(parts), 1)) <= 1 + 1e-9


def test_the_window_and_the_tree_sum_it() -> None:
    store = served(LatencySplit(4, 1, 2, 3, 4), LatencySplit(), LatencySplit(10, 10, 20, 30, 40))
    rows = rows_of(store)
    assert rows[0].node.totals.split == LatencySplit(14, 11, 22, 33, 44)
    for step in range(60):
        message = agent_pb2.Snapshot(interval_ns=10**9)
        message.time.FromNanoseconds(BASE_NS + (3 + step) * 10**9)
        store.add_second(message)
        if step == 57:
            assert rows_of(store)[0].node.totals.split == LatencySplit(10, 10, 20, 30, 40)
    assert rows_of(store)[0].node.totals == Totals()
    assert GatewaysView().data(rows[0])["split"] == {
        "requests": 14, "client_network_us": 11, "gateway_us": 22, "pod_network_us": 33,
        "pod_us": 44,
    }  # fmt: skip
    assert GatewaysView().data(rows_of(store)[0])["split"] is None


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"capture": "off"}, " without capture"),
        ({"capture": "failed", "sockets": "off"}, " without capture"),
        ({"capture": "on", "sockets": "failed"}, " without sockets"),
        ({"capture": "on"}, ": connections older than the agent, or on another node"),
    ],
)
def test_what_is_not_known_says_why(parts: dict[str, str], why: str) -> None:
    store, known = served(LatencySplit()), served(LatencySplit(1, 1, 1, 1, 1))
    status = agent_pb2.StatusResponse()
    for part, state in parts.items():
        status.parts.add(part=part, state=state)
    said: list[list[str]] = []
    for each in (store, known):
        each.set_agent(status)
        detail = GatewaysView().detail(rows_of(each)[0], each.snapshot(), UTF8)
        said.append([line for line in texts(list(detail.right)) if line.startswith("split ")])
    assert said == [[f"split not known{why}"], []]


def test_connections_and_their_absence_say_nothing() -> None:
    assert unknown_split(Totals(), AgentState()) == []
    assert unknown_split(Totals(requests=3, status=Counter({0: 3})), AgentState()) == []


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_it_stands_on_the_screen_of_every_size(size: tuple[int, int]) -> None:
    async with screen(filled_store(), Options(UTF8, view="gateways"), size) as shown:
        for _ in range(12):
            lines = await shown.press("down")
            at = next(line for line in lines if line.startswith("─ "))
            told = [line for line in lines if "split client" in line]
            assert bool(told) is not any(name in at for name in ("redirect", "ghost", "no route"))
            assert all(line.endswith(("%", "% of requests")) for line in told)


def test_bars_show_letters_only_without_colours() -> None:
    bars = [span for span in split_forms(KNOWN)[0] if span.style.startswith("bar-")]
    assert [span.text[:1] for span in bars] == ["c", "g", "n", "p"]
    assert len({STYLES[span.style].bgcolor for span in bars}) == 4
    for span in bars:
        assert STYLES[span.style].color == STYLES[span.style].bgcolor
        assert PLAIN[span.style].color is PLAIN[span.style].bgcolor is None
    assert all(line_width(form) < 120 for form in split_forms(KNOWN))
