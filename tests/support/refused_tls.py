"""A fixture and a mark for tests with refused TLS handshakes.

asyncio of Python 3.11 leaves the transport of such a connection to the garbage collector, which
warns about it, possibly during another test. Import both names into such tests.
"""

import gc
from collections.abc import Iterator

import pytest

MAY_WARN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect the test's garbage within the test, where MAY_WARN ignores its warnings."""
    yield
    gc.collect()
