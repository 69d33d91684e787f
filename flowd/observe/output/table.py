"""Format tables as aligned columns, wrapped to the terminal's width."""

import shutil
import sys
import textwrap
from itertools import zip_longest

MIN_WIDTH = 9


def columns(rows: list[list[str]]) -> str:
    """Lines of rows of equal length; each column is 3 wider than its widest cell."""
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False))
        + row[-1]
        + "\n"
        for row in rows
    )


def fitted(rows: list[list[str]]) -> str:
    """`columns` without blanks at line ends, with cells wrapped to the width of a terminal."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    lines = columns(wrap_cells(rows, width) if width else rows).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def wrap_cells(rows: list[list[str]], width: int) -> list[list[str]]:
    """Wrap cells into additional rows, so that `columns` of them is at most `width` wide.

    The widest columns are narrowed, first without breaking words, then down to MIN_WIDTH each; a
    table that still does not fit stays too wide.
    """
    table = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in table]
    whole = [max(len(word) for cell in column for word in cell.split(" ")) for column in table]
    for least in ([max(size, MIN_WIDTH) for size in whole], [MIN_WIDTH] * len(widths)):
        while sum(widths) + 3 * (len(widths) - 1) > width:
            room, at = max(
                (size - low, at) for at, (size, low) in enumerate(zip(widths, least, strict=True))
            )
            if room <= 0:
                break
            widths[at] -= 1
    lines: list[list[str]] = []
    for row in rows:
        cells = [
            textwrap.wrap(cell, size, break_on_hyphens=False)
            for cell, size in zip(row, widths, strict=True)
        ]
        lines += [list(line) for line in zip_longest(*cells, fillvalue="")]
    return lines
