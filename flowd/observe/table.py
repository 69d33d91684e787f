"""Aligned columns."""

import shutil
import sys
import textwrap
from itertools import zip_longest

NARROWEST = 9


def columns(rows: list[list[str]]) -> str:
    """Rows of equal length as lines, each column three wider than its widest cell."""
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False))
        + row[-1]
        + "\n"
        for row in rows
    )


def fitted(rows: list[list[str]]) -> str:
    """The same, with cells broken over lines where a terminal is too narrow for them."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    return columns(broken(rows, width) if width else rows)


def broken(rows: list[list[str]], width: int) -> list[list[str]]:
    """Rows whose cells go on in rows below them, so that `columns` of them is at most so wide.

    The widest columns give way, down to NARROWEST each; what still does not fit stays too wide.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + 3 * (len(widths) - 1) > width and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    lines: list[list[str]] = []
    for row in rows:
        cells = [textwrap.wrap(cell, size) for cell, size in zip(row, widths, strict=True)]
        lines += [list(line) for line in zip_longest(*cells, fillvalue="")]
    return lines
