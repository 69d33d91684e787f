"""Memory that is free goes back to the kernel, where the C library can give it back."""

import asyncio

import pytest

from flowd.runtime import memory


def test_trim_where_the_library_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    def library(_name: str | None) -> object:
        return object()

    monkeypatch.setattr(memory.ctypes, "CDLL", library)
    assert memory.trim() is False


async def test_trims_again_and_again_until_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    times, enough = list[bool](), asyncio.Event()
    real = memory.trim

    def trim() -> bool:
        times.append(real())
        if len(times) == 3:
            enough.set()
        return times[-1]

    monkeypatch.setattr(memory, "trim", trim)
    task = asyncio.create_task(memory.trim_regularly(0.001))
    async with asyncio.timeout(30):
        await enough.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
