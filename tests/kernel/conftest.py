"""Everything here loads programs into the running kernel, or is skipped with the reason."""

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
"""Tests of loading, and those to which matters what a capture left in the maps."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in item.path.parents]
    reason = unsupported_reason() if mine else None
    for item in mine:
        item.add_marker(pytest.mark.kernel)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def patient() -> Iterator[None]:
    """On a busy machine LLVM takes its time, and an emulated one leaves it to another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "SECONDS", 600.0)
        if bcc := stand_in():
            patch.setattr(loader, "find_bcc", lambda: bcc)
        yield


@pytest.fixture(scope="session")
def compiled_elsewhere() -> Iterator[Compiled]:
    """What captures were loaded with, where loading takes long."""
    made = Compiled()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def sharing(
    request: pytest.FixtureRequest,
    compiled_elsewhere: Compiled,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On an emulated machine captures share their programs."""
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
def loaded() -> Iterator[loader.Loaded]:
    """The programs, attached nowhere."""
    programs = loader.load({"RING_BYTES": RING})
    yield programs
    programs.close()


@pytest.fixture(scope="module")
def compiled() -> Iterator[Compiled]:
    """What captures of this module were loaded with, kept for the next ones."""
    made = Compiled()
    yield made
    made.close()


@pytest.fixture
def compiled_once(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captures with the same options share their programs."""
    monkeypatch.setattr(loader, "load", compiled.load)


@pytest.fixture
def programs(loaded: loader.Loaded) -> Iterator[Programs]:
    """The same with an empty table, to be run on single packets."""
    made = Programs(loaded)
    yield made
    made.clear()
