"""Aligned columns."""


def columns(rows: list[list[str]]) -> str:
    """Rows of equal length as lines, each column three wider than its widest cell."""
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False))
        + row[-1]
        + "\n"
        for row in rows
    )
