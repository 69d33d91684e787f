"""Nothing that could steer a terminal passes the border."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowd import text


@given(st.text(st.characters()))
def test_no_control_or_bidirectional_character_comes_out(value: str) -> None:
    out = text.printable(value)
    assert not [c for c in out if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")]


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_is_left_alone(value: str) -> None:
    assert text.printable(value, 10**6) == value


def test_escapes_can_be_read() -> None:
    assert text.printable("a\x1b[1mb\r\n\x7f\x85\u202e") == "a^[[1mb^M^J^?\\x85\\u202e"


def test_long_text_is_cut() -> None:
    assert text.printable("x" * 2000, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.24, "0.2"), (412, "412"), (1100, "1.1k"), (3.4e6, "3.4M"), (999.7, "1.0k")],
)
def test_short_numbers(value: float, shown: str) -> None:
    assert text.short(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(312, "312 B"), (2150, "2.1 KiB"), (1 << 30, "1.0 GiB"), (1023.9, "1.0 KiB")],
)
def test_bytes(value: float, shown: str) -> None:
    assert text.iec(value) == shown
