"""For tests in which a TLS handshake is refused.

asyncio of Python 3.11 leaves the transport of such a connection to the garbage collector, which
warns of it, perhaps during another test. Import both names where handshakes are refused.
"""

import gc
from collections.abc import Iterator

import pytest

MAY_WARN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What the test left behind is collected while its own warnings are let pass."""
    yield
    gc.collect()
