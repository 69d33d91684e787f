"""Sparklines that start at zero, so that a steady load never looks like none."""

from collections.abc import Sequence
from itertools import pairwise

from flowd_tui.draw.glyphs import Glyphs


def spark(values: Sequence[float], width: int, glyphs: Glyphs) -> str:
    """`width` characters, the newest at the right; short series are padded on the left.

    The lowest sign is kept for zero and the highest for the largest value; whatever is above zero
    shows at least the second sign.
    """
    points = resample(values, width)
    top = max(points, default=0)
    steps = len(glyphs.levels) - 1
    signs = "".join(
        glyphs.levels[max(1, round(value / top * steps)) if value > 0 else 0] for value in points
    )
    return signs.rjust(width)


def resample(values: Sequence[float], width: int) -> list[float]:
    """At most `width` means of neighbouring values; the groups differ in size by at most one."""
    if len(values) <= width:
        return list(values)
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
