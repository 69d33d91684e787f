"""What the allocator keeps for later, given back to the kernel."""

import asyncio
import ctypes

TRIM_SECONDS = 10.0


def trim() -> bool:
    """Give back what is free; False where the C library cannot (malloc_trim(3) is of glibc)."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return release is not None and bool(release(ctypes.c_size_t(0)))


async def trim_regularly(seconds: float = TRIM_SECONDS) -> None:
    """Trim from time to time: after a burst most of what its batches took is free, and resident."""
    while True:
        await asyncio.sleep(seconds)
        trim()
