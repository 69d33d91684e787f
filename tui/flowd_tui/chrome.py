"""Lines around the table: header, tabs, query, detail and footer, as pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

from flowd.text import count, iec, short
from flowd_tui.data.store import LOSS_PLACES, ConnectionState, Snapshot
from flowd_tui.draw.cells import Line, Span, fit, justify, line_width, pack
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.draw.spark import spark
from flowd_tui.key_bindings import ACTIONS, BY_ID, Action
from flowd_tui.views.base import RowDetail, ViewQuery
from flowd_tui.views.gateway_detail import window_text

WIDE = 140


@dataclass(frozen=True, slots=True)
class PauseState:
    """Pause of the screen: seconds since it began, and flows received since."""

    seconds: float
    new: int


def header(now: Snapshot, pause: PauseState | None, width: int, glyphs: Glyphs) -> Line:
    """Header line: node and flow rate on the left; degraded parts, state, losses on the right."""
    right: Line = [*_degraded(now, width), *_state(now, pause)]
    if not pause or width >= WIDE:
        right += _lost(now, width)
    if width >= WIDE and now.resident_bytes:
        right.append(
            Span(f"  agent cpu {100 * now.cpu_share:.1f}%  rss {iec(now.resident_bytes)}", "dim")
        )
    right.append(Span(" "))
    left: Line = [Span(" flowd top ", "brand")]
    pieces: list[Line] = [[Span(f"  {_node_name(now)}", "title")]]
    if now.recent:
        pieces.append([Span(f"  {count(now.recent[-1])} flows/s ")])
        pieces.append([Span(spark(now.recent, 8, glyphs), "accent")])
    if width >= WIDE:
        pieces.insert(1, [Span(f"  {now.server}", "dim")])
        if now.recent:
            pieces.append([Span(f"  {iec(now.bytes_rate)}/s")])
    room = width - line_width(right) - 1
    for piece in pieces:
        if line_width(left) + line_width(piece) <= room:
            left += piece
    return justify(left, right, width)


def _node_name(now: Snapshot) -> str:
    if not now.agent.node:
        return now.server
    cluster = now.agent.cluster
    return now.agent.node if cluster in ("", "default") else f"{cluster}/{now.agent.node}"


def _state(now: Snapshot, pause: PauseState | None) -> Line:
    if now.connection is ConnectionState.DISCONNECTED:
        return [Span(" DISCONNECTED ", "alarm")]
    if pause:
        return [Span(f" PAUSED {pause.seconds:.0f}s  +{count(pause.new)} new ", "alarm")]
    if now.connection is ConnectionState.CONNECTING:
        return [Span("CONNECTING", "warn")]
    return [Span("LIVE", "ok")]


def _degraded(now: Snapshot, width: int) -> Line:
    parts = now.agent.degraded_parts
    if not parts:
        return []
    text = " ".join(name for name, _, _ in parts) if width >= 100 else "degraded"
    return [Span(f"! {text}  ", "warn")]


def _lost(now: Snapshot, width: int) -> Line:
    style = "bad" if now.lost else "dim"
    if width < WIDE:
        return [Span(f"  lost {short(now.lost)}", style)]
    places: dict[str, int] = {"kernel": 0, "queue": 0, "stream": now.lost_stream}
    for place, _, lost in now.losses:
        if place in places or (lost and place in LOSS_PLACES):
            places[place] = places.get(place, 0) + lost
    line = [Span("  lost", style)]
    for place, lost in places.items():
        line.append(Span(f" {place} {short(lost)}", "bad" if lost else "dim"))
    return line


def tabs(views: Sequence[tuple[str, str]], current: str, width: int) -> Line:
    """Tabs of the views with their keys; only the keys below 60 columns."""
    line: Line = [Span(" ")]
    for number, (name, title) in enumerate(views, 1):
        text = f"{title}" if width >= 60 else ""
        action = f"view_{name}"
        if name == current:
            line += [Span(f"[{number}]", "tab", action), Span(text, "tab", action), Span("  ")]
        else:
            line += [Span(f" {number} {text}", "dim", action), Span("  ")]
    return line


@dataclass(frozen=True, slots=True)
class QueryState:
    """State that the query line shows beside the query."""

    sort_title: str
    descending: bool
    window: int | None
    following: bool
    locked: bool
    row_count: str
    error: str = ""


def query_line(query: ViewQuery, state: QueryState, width: int, glyphs: Glyphs) -> Line:
    """Query line: namespace, window, order and filter on the left, number of rows on the right."""
    left: Line = [Span(" ns:", "dim"), Span(query.namespace or "all")]
    if state.window:
        left += [Span("  window:", "dim"), Span(window_text(state.window), "", "window")]
    mark = glyphs.down if state.descending else glyphs.up
    if state.sort_title:
        left += [Span("  sort:", "dim"), Span(state.sort_title + mark, "", "reverse")]
    if state.following:
        left.append(Span("  following", "ok"))
    if state.locked:
        left.append(Span("  order locked", "warn"))
    right = [Span(f"{state.row_count} ", "dim")]
    if state.error:
        right = [Span(f"{state.error} ", "bad")]
    if query.filter:
        room = width - line_width(left) - line_width(right) - 11
        shown = fit(query.filter, max(room, 12), glyphs).rstrip()
        left += [Span("  filter:", "dim"), Span(shown, "key")]
    if state.error and line_width(left) + line_width(right) >= width:
        return [Span(fit(f" {state.error}", width, glyphs), "bad")]
    return justify(left, right, width)


def detail_lines(detail: RowDetail, width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """Detail pane: a rule with the title, then facts, in two columns from WIDE on."""
    title = detail.title
    rule = f"{glyphs.line} {fit(title, width - 6, glyphs).rstrip()} " if title else ""
    half = width // 2
    two = width >= WIDE
    line = glyphs.line * (width - _width(rule))
    if two and half > _width(rule):
        at = half - _width(rule)
        line = line[:at] + glyphs.tee + line[at + 1 :]
    lines: list[Line] = [[Span(rule, "title"), Span(line, "dim")]]
    if not two:
        facts = [*_first(detail, width - 2, glyphs), *detail.left, *detail.right]
        facts = pack(facts, width - 2, height - 1)
        return [*lines, *([Span(" "), *fact] for fact in facts)]
    left = pack(detail.left, half - 2, height - 1)
    room = width - half - 3
    right = pack([*_first(detail, room, glyphs), *detail.right], room, height - 1)
    for index in range(max(len(left), len(right))):
        one = _exact(left[index] if index < len(left) else [], half - 1, glyphs)
        other = right[index] if index < len(right) else []
        lines.append([Span(" "), *one, Span(f"{glyphs.bar} ", "dim"), *other])
    return lines


def _width(text: str) -> int:
    return line_width([Span(text)])


def _first(detail: RowDetail, width: int, glyphs: Glyphs) -> list[Line]:
    fitting = [form for form in detail.first if line_width(form) <= width]
    return fitting[:1] or [_exact(form, width, glyphs) for form in detail.first[-1:]]


def _exact(line: Line, width: int, glyphs: Glyphs) -> Line:
    shown: Line = []
    left = width
    for span in line:
        text = span.text if _width(span.text) <= left else fit(span.text, left, glyphs)
        shown.append(span._replace(text=text))
        left -= _width(text)
    return [*shown, Span(" " * left)]


def footer(view: str, paused: bool, width: int, glyphs: Glyphs) -> Line:
    """Footer: keys of the view by rank as far as they fit; help and quit always."""
    right: Line = [*_key("help", "?", "help"), *_key("quit", "q", "quit"), Span(" ")]
    left: Line = [Span(" ")]
    chosen = [action for action in ACTIONS if action.footer and action.view in ("", view)]
    if view == "help":
        chosen = [BY_ID["back"]]
    for action in sorted(chosen, key=lambda action: action.footer):
        spans = _key(action.id, _shown(action, glyphs), _label(action, paused))
        if line_width(left) + line_width(spans) + line_width(right) <= width:
            left += spans
    return justify(left, right[:-2] if width < 20 else right, width)


def _label(action: Action, paused: bool) -> str:
    return "resume" if action.id == "pause" and paused else action.label


def _shown(action: Action, glyphs: Glyphs) -> str:
    if glyphs.ascii:
        return {"fold": "left", "unfold": "right"}.get(action.id, action.shown)
    return glyphs.enter if action.id == "open" else action.shown


def _key(action: str, key: str, label: str) -> Line:
    return [Span(key, "key", action), Span(f" {label}", "dim", action), Span("  ")]


def filter_footer(fields: Sequence[str], width: int, glyphs: Glyphs) -> Line:
    """Footer while the filter prompt is open: its keys, and the fields of the language."""
    left: Line = [Span(f" {glyphs.enter}", "key"), Span(" keep  ", "dim")]
    left += [Span("esc", "key"), Span(" cancel  ", "dim")]
    room = width - line_width(left) - 1
    return [*left, Span(fit(" ".join(fields), room, glyphs), "dim")]


def too_small(width: int, height: int, now: Snapshot) -> list[Line]:
    """Screen of a terminal below 60x12."""
    return [
        [Span("flowd top needs 60x12", "title")],
        [Span(f"this terminal is {width}x{height}")],
        [Span(f"{count(now.received)} flows so far", "dim")],
    ]
