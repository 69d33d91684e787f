"""KernelDns: where the kernel refuses the programs with DNS, and its settings."""

from collections.abc import Mapping

import pytest

from flowd.capture import preflight
from flowd.capture.dns import source
from flowd.capture.dns.source import KernelDns, defines
from flowd.capture.kernel.filter import CaptureFilter
from flowd.capture.preflight import Grade
from flowd.model.losses import Losses
from flowd.model.status import PartStatus, State
from flowd_bpf.errors import BpfError
from flowd_bpf.load import loader


def refuse_dns(
    settings: Mapping[str, int] | None = None, *_units: object, **_more: object
) -> loader.LoadedPrograms:
    """A kernel whose verifier refuses the programs with DNS only."""
    if settings and "DNS_PORT" in settings:
        raise BpfError("the verifier refused program flowd_in: too complex")
    return loader.LoadedPrograms()


def test_connections_go_on_where_the_kernel_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "load", refuse_dns)
    part = KernelDns(Losses(), wanted=True)
    part.start(part.load({}, None, None))
    assert part.status() == PartStatus(
        "dns", State.DEGRADED, "the verifier refused program flowd_in: too complex"
    )
    assert len(part.read(0)) == 0
    part.close()


def test_check_says_that_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "load", refuse_dns)
    found = [check for check in preflight.checks(CaptureFilter()) if check.name == "DNS"]
    assert [check.grade for check in found] == [Grade.WARN]
    assert found[0].detail.startswith("not to be had: the verifier refused")


def test_what_cannot_be_had_without_dns_either_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> loader.LoadedPrograms:
        raise BpfError("not permitted")

    monkeypatch.setattr(loader, "load", refuse)
    with pytest.raises(BpfError, match="not permitted"):
        KernelDns(Losses(), wanted=True).load({}, None, None)


def test_switched_off_the_programs_are_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, int] | None] = []

    def load(settings: Mapping[str, int] | None, *_: object) -> loader.LoadedPrograms:
        asked.append(settings)
        return loader.LoadedPrograms()

    monkeypatch.setattr(loader, "load", load)
    part = KernelDns(Losses(), wanted=False)
    part.load({"RING_BYTES": 1}, None, None)
    assert asked == [{"RING_BYTES": 1}]
    assert part.status().state is State.OFF


def test_ports_for_the_compiler() -> None:
    ring = {"DNS_RING_BYTES": source.RING_BYTES}
    assert defines((53,)) == {"DNS_PORT": 53, **ring}
    assert defines((53, 5353, 9, 10)) == {
        "DNS_PORT": 53,
        "DNS_PORT_2": 5353,
        "DNS_PORT_3": 9,
        "DNS_PORT_4": 10,
        **ring,
    }
