"""Return memory that the allocator holds free to the kernel (malloc_trim(3))."""

import asyncio
import ctypes

TRIM_SECONDS = 10.0


def trim() -> bool:
    """Return free memory to the kernel; False where the C library has no malloc_trim, as musl."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return release is not None and bool(release(ctypes.c_size_t(0)))


async def trim_regularly(seconds: float = TRIM_SECONDS) -> None:
    """Trim every so many seconds: after a burst the memory of its batches is free but resident."""
    while True:
        await asyncio.sleep(seconds)
        trim()
