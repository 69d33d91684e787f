"""Colours and styles of the screen: blue and orange, readable without telling red from green."""

from rich.style import Style
from textual.theme import Theme

THEME = Theme(
    name="flowd",
    primary="#5aa9ff",
    secondary="#8fb8de",
    warning="#e8c468",
    error="#ff9e4a",
    success="#7fc8a9",
    accent="#5aa9ff",
    foreground="#d7dde5",
    background="#10151c",
    surface="#10151c",
    panel="#18202b",
    dark=True,
)

PARTS = {"client": "#5aa9ff", "gateway": "#e8c468", "network": "#a58be0", "pod": "#7fc8a9"}
"""Colours of the four parts of a request's latency."""

STYLES = {
    "": Style(),
    "dim": Style(color="#7d8a99"),
    "title": Style(bold=True),
    "brand": Style(color="#10151c", bgcolor="#5aa9ff", bold=True),
    "accent": Style(color="#5aa9ff"),
    "key": Style(color="#8fc7ff", bold=True),
    "ok": Style(color="#7fc8a9"),
    "warn": Style(color="#e8c468"),
    "bad": Style(color="#ff9e4a"),
    "alarm": Style(color="#10151c", bgcolor="#e8c468", bold=True),
    "tab": Style(color="#5aa9ff", bold=True),
    "head": Style(color="#9fb0c3", bgcolor="#1b2532", bold=True),
    "sorted": Style(color="#8fc7ff", bgcolor="#1b2532", bold=True),
    "cursor": Style(bgcolor="#24476e"),
    **{f"part-{part}": Style(color=color) for part, color in PARTS.items()},
    # Text and background have one colour: the letters of a bar are visible only without colours
    **{f"bar-{part}": Style(color=color, bgcolor=color) for part, color in PARTS.items()},
}

PLAIN = {
    name: Style(bold=name in ("title", "key", "tab", "bad", "head", "sorted"))
    + Style(reverse=True if name in ("cursor", "alarm", "brand") else None)
    + Style(underline=True if name in ("head", "sorted") else None)
    for name in STYLES
}
"""Styles without colours: bold, underline and reverse video."""
