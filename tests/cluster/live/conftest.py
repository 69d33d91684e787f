"""These tests are collected only where FLOWD_CLUSTER is set, and fail at once where no cluster runs."""

import os

import pytest

from tests.cluster import lifecycle

collect_ignore_glob = [] if os.environ.get("FLOWD_CLUSTER") else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def cluster() -> None:
    """The cluster runs."""
    if not lifecycle.running():
        pytest.exit("no cluster: make cluster", returncode=1)
