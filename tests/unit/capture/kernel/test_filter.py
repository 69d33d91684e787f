"""What a filter may be written as, and what the kernel programs are told."""

from typing import Any

import pytest

from flowd.capture.kernel.filter import Filter, filter_of
from flowd.errors import UsageError
from flowd.settings import Settings


def test_nothing_is_compiled_for_what_is_not_asked() -> None:
    assert Filter().defines() == {}
    assert str(Filter()) == ""


def test_switches_say_what_becomes_of_the_rest() -> None:
    chosen = Filter(["10.0.0.0/8"], ["!53"], ["tcp", "!132"], 10)
    assert chosen.defines() == {
        "FILTER_CIDR": 2,
        "FILTER_PORT": 1,
        "FILTER_PROTOCOL": 2,
        "SAMPLING": 10,
    }
    assert str(chosen) == "only 10.0.0.0/8, only port !53, only tcp !132, 1 in 10 connections"


@pytest.mark.parametrize(
    ("wrong", "told"),
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
def test_what_cannot_be_is_named(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Filter(**wrong)


def test_settings_are_the_filter() -> None:
    settings = Settings(
        filter_cidr=("fd00::/8",), filter_port=("443",), filter_protocol=("TCP",), sampling=3
    )
    assert filter_of(settings) == Filter(("fd00::/8",), ("443",), ("TCP",), 3)
    assert filter_of(Settings()) == Filter()
