"""Tables wrapped for a narrow terminal."""

import re

from hypothesis import given
from hypothesis import strategies as st

from flowd.observe.output.table import MIN_WIDTH, columns, wrap_cells

WORDS = st.text(st.sampled_from("ab/-."), min_size=1, max_size=30)
ROWS = st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=1, max_size=6)


@given(ROWS, st.integers(3 * MIN_WIDTH + 6, 120))
def test_nothing_is_wider_than_asked_and_nothing_is_lost(rows: list[list[str]], width: int) -> None:
    lines = wrap_cells(rows, width)
    assert max(map(len, columns(lines).splitlines())) <= width
    for at in range(3):
        assert "".join(line[at] for line in lines) == "".join(row[at] for row in rows)


def test_cells_go_on_below_themselves() -> None:
    rows = [["ROUTE", "ACCEPTED"], ["a/one", "False NotAllowedByListeners (of c on same)"]]
    text = columns(wrap_cells(rows, 40))
    assert [re.split(" {3,}", line) for line in text.splitlines()] == [
        ["ROUTE", "ACCEPTED"],
        ["a/one", "False NotAllowedByListeners (of"],
        ["", "c on same)"],
    ]
    assert wrap_cells(rows, 200) == rows
