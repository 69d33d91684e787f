"""Sparklines with a zero base, so that a steady load does not look like no load."""

from collections.abc import Sequence
from itertools import pairwise

from flowd_tui.draw.glyphs import Glyphs


def spark(values: Sequence[float], width: int, glyphs: Glyphs) -> str:
    """A sparkline of `width` characters, newest value at the right, padded on the left.

    The lowest level means zero and the highest the largest value; every value above zero has at
    least the second level.
    """
    points = resample(values, width)
    top = max(points, default=0)
    steps = len(glyphs.levels) - 1
    signs = "".join(
        glyphs.levels[max(1, round(value / top * steps)) if value > 0 else 0] for value in points
    )
    return signs.rjust(width)


def resample(values: Sequence[float], width: int) -> list[float]:
    """Means of at most `width` groups of neighbouring values; group sizes differ by at most one."""
    if len(values) <= width:
        return list(values)
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
