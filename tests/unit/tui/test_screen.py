"""Whole screens of `flowd top` as text, and the effect of keys on them.

`FLOWD_GOLDEN=write pytest tests/unit/tui/test_screen.py` rewrites the golden files.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowd.wire.flow import flow_pb2
from flowd_tui.board import Options
from flowd_tui.data.store import TopStore
from flowd_tui.draw.glyphs import ASCII, UTF8
from flowd_tui.key_bindings import BY_ID, VIEW_ACTION, VIEW_NAMES
from flowd_tui.views import VIEWS
from tests.fakes import top_data
from tests.fakes.top_data import BASE_NS
from tests.fakes.top_screen import filled_store, screen

GOLDEN = Path(__file__).parents[2] / "golden" / "tui"
SIZES = [(60, 20), (80, 24), (120, 36), (160, 45)]
HOSTILE = "a\x1b[31m[bold]b[/bold]\u202e\x9b2J\x07c"


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def compare(name: str, lines: list[str]) -> None:
    path, text = GOLDEN / f"{name}.txt", "\n".join(lines) + "\n"
    if os.environ.get("FLOWD_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("glyphs", [UTF8, ASCII], ids=["utf8", "ascii"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("view", ["flows", "gateways"])
async def test_golden(view: str, size: tuple[int, int], glyphs: object) -> None:
    chosen = ASCII if glyphs is ASCII else UTF8
    async with screen(filled_store(), Options(chosen, view=view), size) as shown:
        await shown.press("down", "down")
        lines = await shown.press("down")
    form = "ascii" if chosen.ascii else "utf8"
    compare(f"{view}-{size[0]}x{size[1]}-{form}", lines)
    assert len(lines) == size[1]
    if chosen.ascii:
        assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_golden_help(size: tuple[int, int]) -> None:
    async with screen(filled_store(), size=size) as shown:
        compare(f"help-{size[0]}x{size[1]}", await shown.press("question_mark"))


async def test_golden_empty_and_disconnected() -> None:
    store = TopStore("127.0.0.1:4245")
    async with screen(store) as shown:
        compare("connecting", await shown.lines())
        store.disconnected("cannot reach 127.0.0.1:4245 (connection refused)")
        compare("disconnected", await shown.lines())
        store.connected()
        status = top_data.status()
        status.parts.add(part="kernel", state="degraded", detail="no CAP_BPF: access logs only")
        store.set_agent(status)
        compare("waiting", await shown.lines())


async def test_golden_filter_and_detail() -> None:
    async with screen(filled_store()) as shown:
        await shown.press("slash", *"verdict")
        await shown.press("equals_sign", *"dropped")
        compare("filter", await shown.lines())
        await shown.press("enter", "down")
        compare("detail", await shown.press("enter"))


async def test_no_character_of_a_stranger_reaches_the_terminal_as_it_is() -> None:
    store = filled_store(flows=5)
    flow = flow_pb2.Flow(node_name=HOSTILE, verdict=flow_pb2.FORWARDED, Summary=HOSTILE)
    flow.source.namespace, flow.source.pod_name = HOSTILE, HOSTILE
    flow.destination_service.name = HOSTILE
    flow.l7.http.method, flow.l7.http.url = HOSTILE, f"http://{HOSTILE}/{HOSTILE}"
    flow.l7.http.code = 200
    top_data.extensions(flow, route=HOSTILE, gateway=HOSTILE, response_flags=[HOSTILE])
    flow.time.FromNanoseconds(BASE_NS)
    store.add_flow(flow)
    topology = top_data.topology()
    topology.routes[0].name = topology.routes[0].hostnames[0] = HOSTILE
    topology.gateways[0].listeners[0].hostname = HOSTILE
    topology.routes[0].rules[0].matches[0] = HOSTILE
    store.set_topology(topology)
    async with screen(store, size=(160, 45)) as shown:
        seen = await shown.press("enter")
        assert any("^[[31m[bold]b[/bold]" in line for line in seen)
        seen += await shown.press("escape", "2")
        assert any("^[[31m[bold]b" in line for line in seen)
        seen += await shown.press("down", "c")
        seen += await shown.press("C")
        store.disconnected(HOSTILE)
        seen += await shown.lines()
        seen += await shown.press("slash", *"[bold]")
    controls = {char for line in seen for char in line if not char.isprintable()}
    assert not controls
    assert not any("\u202e" in line for line in seen)


async def test_pausing_holds_the_screen_and_counts_on() -> None:
    store = filled_store()
    async with screen(store) as shown:
        before = await shown.press("space")
        for flow in top_data.flows(70, seed=8):
            store.add_flow(flow)
        shown.clock.now += 14
        during = await shown.lines()
        assert "PAUSED 14s  +70 new" in during[0]
        assert during[3:20] == before[3:20]
        assert "resume" in during[-1]
        after = await shown.press("space")
        assert "LIVE" in after[0]
        assert "370 flows" in after[2]


async def test_following_and_standing_still() -> None:
    store = filled_store()
    async with screen(store) as shown:
        assert "following" in (await shown.lines())[2]
        chosen = (await shown.press("down", "down"))[19]
        for flow in top_data.flows(4, seed=9):
            store.add_flow(flow)
        lines = await shown.lines()
        assert lines[19] == chosen
        assert "following" not in lines[2]
        lines = await shown.press("f")
        assert "following" in lines[2]
        assert lines[19] != chosen


async def test_the_selected_row_stays_where_it_is_on_the_screen() -> None:
    store = filled_store()
    async with screen(store) as shown:
        await shown.press(*["down"] * 30)
        before = await shown.lines()
        for flow in top_data.flows(5, seed=9):
            store.add_flow(flow)
        assert (await shown.lines())[4:19] == before[4:19]


async def test_a_filter_works_while_it_is_typed_and_keeps_the_last_good_one() -> None:
    async with screen(filled_store()) as shown:
        await shown.press("slash", *"checkout")
        lines = await shown.lines()
        assert "filter:checkout" in lines[2]
        assert "match" in lines[2]
        assert all("/check" in line for line in lines[4:8])
        lines = await shown.press("space", "right_parenthesis")
        assert "column 10: unexpected ')'" in lines[2]
        assert all("/check" in line for line in lines[4:8])
        lines = await shown.press("backspace", *"zz", "equals_sign", "1")
        assert "column 10: unknown field 'zz'" in lines[2]
        lines = await shown.press("escape")
        assert "filter" not in lines[2]
        assert "300 flows" in lines[2]


async def test_enter_keeps_a_filter_and_esc_clears_it() -> None:
    async with screen(filled_store()) as shown:
        lines = await shown.press("slash", *"drop", "enter")
        assert "filter:drop" in lines[2]
        assert " / filter" in lines[-1]
        assert "filter:" not in (await shown.press("escape"))[2]


async def test_tab_completes_a_field_name() -> None:
    async with screen(filled_store()) as shown:
        lines = await shown.press("slash", *"from-po", "tab")
        assert "/ from-po" in lines[-2]
        lines = await shown.press("d", "tab", *"ops/curl")
        assert "/ from-pod=ops/curl" in lines[-2]
        assert all("ops/curl" in line for line in lines[4:8])


async def test_folding_with_the_arrows() -> None:
    async with screen(filled_store(), Options(UTF8, view="gateways")) as shown:
        lines = await shown.press(*["down"] * 5)
        assert "▼ ✓ demo/echo-split" in lines[9]
        lines = await shown.press("left")
        assert "▶ ✓ demo/echo-split" in lines[9]
        assert "demo/redirect" in lines[10]
        lines = await shown.press("right")
        assert "echo-1:3000" in lines[10]
        lines = await shown.press("down", "left", "left")
        assert "▶ ✓ demo/echo-split" in lines[9]


async def test_enter_shows_the_flows_of_a_route_and_esc_comes_back() -> None:
    async with screen(filled_store(), Options(UTF8, view="gateways"), (120, 36)) as shown:
        lines = await shown.press(*["down"] * 5, "enter")
        assert "[1]Flows" in lines[1]
        assert "listener=http route=HTTPRoute/demo/echo-s" in lines[2]
        assert all("demo/echo-split" in line for line in lines[4:8])
        lines = await shown.press("escape")
        assert "[2]Gateways" in lines[1]
        assert "filter:" not in (await shown.press("1"))[2]


async def test_the_window_goes_round() -> None:
    async with screen(filled_store(), Options(UTF8, view="gateways")) as shown:
        seen = [(await shown.press("t"))[2].split()[1] for _ in range(4)]
        assert seen == ["window:5m", "window:15m", "window:10s", "window:1m"]


async def test_sorting_by_keys_and_by_click() -> None:
    async with screen(filled_store(), Options(UTF8, view="gateways")) as shown:
        assert "sort:RATE/s▼" in (await shown.press("greater_than_sign"))[2]
        assert "sort:RATE/s▲" in (await shown.press("r"))[2]
        assert "sort:GATEWAY▲" in (await shown.press("less_than_sign"))[2]
        await shown.pilot.click("#table", offset=(33, 0))
        assert "sort:RATE/s▼" in (await shown.lines())[2]
        assert "order locked" in (await shown.press("z"))[2]


async def test_clicks_choose_rows_tabs_and_keys() -> None:
    async with screen(filled_store()) as shown:
        await shown.pilot.click("#table", offset=(5, 4))
        lines = await shown.lines()
        assert lines[7].split()[1] in lines[19]
        await shown.pilot.click("#tabs", offset=(14, 0))
        assert "[2]Gateways" in (await shown.lines())[1]
        await shown.pilot.click("#footer", offset=(12, 0))
        assert "PAUSED" in (await shown.lines())[0]


async def test_losing_the_server_keeps_what_was_seen() -> None:
    store = filled_store()
    async with screen(store) as shown:
        before = await shown.lines()
        store.disconnected("cannot reach 127.0.0.1:4245 (connection refused)")
        lines = await shown.lines()
        assert "DISCONNECTED" in lines[0]
        assert lines[3:19] == before[3:19]
        store.connected()
        assert "LIVE" in (await shown.lines())[0]


async def test_what_is_lost_and_degraded_stands_in_the_header() -> None:
    store = filled_store()
    store.add_lost(1234)
    status = top_data.status()
    status.parts[0].state = "degraded"
    store.set_agent(status)
    async with screen(store) as shown:
        assert "! degraded  LIVE  lost 1.2k" in (await shown.lines())[0]
    async with screen(store, size=(160, 45)) as shown:
        assert "! capture  LIVE  lost kernel 0 queue 0 stream 1.2k" in (await shown.lines())[0]


async def test_a_small_terminal_says_so_and_goes_on_counting() -> None:
    store = filled_store()
    async with screen(store, size=(59, 20)) as shown:
        lines = await shown.lines()
        assert lines[0] == "flowd top needs 60x12"
        assert lines[1] == "this terminal is 59x20"
        assert lines[2] == "300 flows so far"
        for flow in top_data.flows(3):
            store.add_flow(flow)
        assert (await shown.lines())[2] == "303 flows so far"
        await shown.pilot.resize_terminal(80, 24)
        assert "[1]Flows" in (await shown.lines())[1]


async def test_without_colours_none_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with screen(filled_store(), Options(UTF8, colors=False)) as shown:
        await shown.lines()
        strips = shown.app.screen._compositor.render_strips()  # pyright: ignore[reportPrivateUsage]
        styles = [segment.style for strip in strips for segment in strip if segment.style]
        assert all(s.color is None or s.color.is_default for s in styles)
        assert all(s.bgcolor is None or s.bgcolor.is_default for s in styles)
        assert sum(bool(s.reverse) for s in styles) > 3


async def test_copying_a_row_and_its_command() -> None:
    async with screen(filled_store(), Options(UTF8, view="gateways")) as shown:
        await shown.press(*["down"] * 5)
        lines = await shown.press("C")
        command = "flowd observe --follow --gateway infra/public --listener http"
        assert shown.app.clipboard == f"{command} --route HTTPRoute/demo/echo-split"
        assert lines[-1].startswith(" copied: flowd observe")
        await shown.press("c")
        assert "demo/echo-split" in shown.app.clipboard
        shown.clock.now += 5
        assert " / filter" in (await shown.lines())[-1]


async def test_the_help_knows_every_key_and_goes_away() -> None:
    async with screen(filled_store(), size=(120, 60)) as shown:
        before = await shown.press("down")
        lines = await shown.press("question_mark")
        assert any("hold the screen still" in line for line in lines)
        assert any("from-pod" in line for line in lines)
        assert (await shown.press("escape"))[3:] == before[3:]


async def test_q_leaves() -> None:
    async with screen(filled_store()) as shown:
        await shown.pilot.press("q")
        await shown.pilot.pause()
        assert not shown.app.is_running


async def test_the_key_of_each_view_shows_it() -> None:
    async with screen(filled_store()) as shown:
        for name in reversed(VIEW_NAMES):
            (key,) = BY_ID[VIEW_ACTION + name].keys
            lines = await shown.press(key)
            assert type(shown.app.view) is VIEWS[name]
            assert any(BY_ID[VIEW_ACTION + name].label in line for line in lines[:3])
