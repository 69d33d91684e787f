"""`flowd check`: results, exit codes, and output."""

import json
import platform

import pytest
from click.testing import CliRunner

from flowd.capture import preflight
from flowd.capture.kernel.filter import CaptureFilter
from flowd.capture.preflight import Check, Grade
from flowd.cli import flowd

PASSED = Check("kernel version", Grade.OK, "Linux 6.18")
WARNED = Check("BTF", Grade.WARN, "no BTF\x1b[31m")
FAILED = Check("BCC", Grade.FAIL, "BCC is not installed")


def check(monkeypatch: pytest.MonkeyPatch, found: list[Check], *flags: str) -> tuple[int, str]:
    def checks(_only: CaptureFilter) -> list[Check]:
        return found

    monkeypatch.setattr(preflight, "checks", checks)
    result = CliRunner().invoke(flowd, ["check", *flags])
    return result.exit_code, result.output


def test_all_well(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = check(monkeypatch, [PASSED, WARNED])
    assert code == 0
    assert output.splitlines()[-1] == "1 passed, 1 warning, 0 failed"
    assert "\x1b[31m" not in output


def test_failure_exits_with_4(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = check(monkeypatch, [PASSED, FAILED])
    assert code == 4
    lines = output.splitlines()
    assert lines[1].startswith("✗ BCC")
    assert lines[-1] == "1 passed, 0 warnings, 1 failed"


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = check(monkeypatch, [PASSED, FAILED], "-o", "json")
    assert code == 4
    report = json.loads(output)
    assert (report["ok"], report["warn"], report["fail"]) == (1, 0, 1)
    assert report["checks"][1] == {"name": "BCC", "grade": "fail", "detail": "BCC is not installed"}


@pytest.mark.parametrize(
    ("release", "fits"),
    [("5.10.0-30", False), ("5.14.0-427.el9", True), ("6.1", True), ("?", False)],
)
def test_old_kernels_are_refused(monkeypatch: pytest.MonkeyPatch, release: str, fits: bool) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    reason = preflight.unsupported_reason()
    assert (reason is not None and "kernel version" in reason) is not fits


def test_reason_without_privileges_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: "6.18.0")
    monkeypatch.setattr(preflight, "capabilities", lambda: {preflight.CaptureCapability.NET_ADMIN})
    reason = preflight.unsupported_reason()
    assert reason is not None
    assert "CAP_PERFMON, CAP_BPF" in reason
    assert "NET_ADMIN" not in reason


def test_reason_without_bcc_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise preflight.bcc.MissingBcc("BCC is not installed")

    monkeypatch.setattr(platform, "release", lambda: "6.18.0")
    monkeypatch.setattr(preflight, "capabilities", lambda: set(preflight.CaptureCapability))
    monkeypatch.setattr(preflight.bcc, "find_bcc", missing)
    reason = preflight.unsupported_reason()
    assert reason is not None
    assert "apt-get install python3-bpfcc" in reason


def test_filter_of_the_configuration_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWD_FILTER_CIDR", "10.0.0.0/8,!10.1.0.0/16")
    monkeypatch.setenv("FLOWD_SAMPLING", "8")
    filters: list[str] = []

    def checks(only: CaptureFilter) -> list[Check]:
        filters.append(str(only))
        return [PASSED]

    monkeypatch.setattr(preflight, "checks", checks)
    assert CliRunner().invoke(flowd, ["check"]).exit_code == 0
    assert filters == ["only 10.0.0.0/8 !10.1.0.0/16, 1 in 8 connections"]
