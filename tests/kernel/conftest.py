"""Fixtures that load programs into the running kernel; tests are skipped where that fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowd.capture.preflight import unsupported_reason
from flowd_bpf.load import loader
from tests.kernel.compiled import Compiled
from tests.kernel.elsewhere import stand_in
from tests.kernel.net import Cluster
from tests.kernel.programs import RING, Programs

HERE = Path(__file__).parent
LOADING = (
    *("test_combinations.py", "test_lifecycle.py", "test_losses.py"),
    *("test_nat.py", "test_nat_requests.py"),
)
"""Tests that load programs themselves, or need maps that no earlier capture has used."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in item.path.parents]
    reason = unsupported_reason() if mine else None
    for item in mine:
        item.add_marker(pytest.mark.kernel)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def patient() -> Iterator[None]:
    """Raise timeouts for busy machines, and use the stand-in for BCC on emulated ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "TIMEOUT_SECONDS", 600.0)
        if bcc := stand_in():
            patch.setattr(loader, "find_bcc", lambda: bcc)
        yield


@pytest.fixture(scope="session")
def compiled_elsewhere() -> Iterator[Compiled]:
    """Cache of loaded programs for the whole session, for emulated machines."""
    made = Compiled()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def sharing(
    request: pytest.FixtureRequest,
    compiled_elsewhere: Compiled,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On an emulated machine all captures share the session's programs."""
    if stand_in() and request.path.name not in LOADING:
        monkeypatch.setattr(loader, "load", compiled_elsewhere.load)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two pods on a bridge, in a node namespace that the test runs in."""
    with Cluster() as made:
        made.add_pod()
        made.add_pod()
        with made.inside():
            yield made


@pytest.fixture(scope="module")
def loaded() -> Iterator[loader.LoadedPrograms]:
    """Loaded programs that are not attached."""
    programs = loader.load({"RING_BYTES": RING})
    yield programs
    programs.close()


@pytest.fixture(scope="module")
def compiled() -> Iterator[Compiled]:
    """Cache of loaded programs for one test module."""
    made = Compiled()
    yield made
    made.close()


@pytest.fixture
def compiled_once(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captures with the same options share their programs."""
    monkeypatch.setattr(loader, "load", compiled.load)


@pytest.fixture
def programs(loaded: loader.LoadedPrograms) -> Iterator[Programs]:
    """The loaded programs with an empty table, for runs on single packets."""
    made = Programs(loaded)
    yield made
    made.clear()
