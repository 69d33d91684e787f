"""How the capture filter is written, and the macros that it compiles to."""

from typing import Any

import pytest

from flowd.capture.kernel.filter import CaptureFilter, capture_filter
from flowd.errors import UsageError
from flowd.settings import Settings


def test_nothing_is_compiled_for_what_is_not_asked() -> None:
    assert CaptureFilter().defines() == {}
    assert str(CaptureFilter()) == ""


def test_switches_say_what_becomes_of_the_rest() -> None:
    selected = CaptureFilter(["10.0.0.0/8"], ["!53"], ["tcp", "!132"], 10)
    assert selected.defines() == {
        "FILTER_CIDR": 2,
        "FILTER_PORT": 1,
        "FILTER_PROTOCOL": 2,
        "SAMPLING": 10,
    }
    assert str(selected) == "only 10.0.0.0/8, only port !53, only tcp !132, 1 in 10 connections"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cidrs": ["10.0.0.1/8"]}, "host bits"),
        ({"cidrs": ["!ten"]}, "'ten'"),
        ({"cidrs": [f"10.{n // 256}.{n % 256}.0/24" for n in range(4097)]}, "4097 networks"),
        ({"ports": ["65536"]}, "'65536'"),
        ({"ports": ["90-80"]}, "'90-80'"),
        ({"ports": ["-80"]}, "'-80'"),
        ({"ports": ["http"]}, "'http'"),
        ({"protocols": ["256"]}, "'256'"),
        ({"protocols": ["²"]}, "'²'"),
        ({"protocols": ["!quic"]}, "'quic'"),
    ],
)
def test_what_cannot_be_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CaptureFilter(**wrong)


def test_settings_are_the_filter() -> None:
    settings = Settings(
        filter_cidr=("fd00::/8",), filter_port=("443",), filter_protocol=("TCP",), sampling=3
    )
    assert capture_filter(settings) == CaptureFilter(("fd00::/8",), ("443",), ("TCP",), 3)
    assert capture_filter(Settings()) == CaptureFilter()
