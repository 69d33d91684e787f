"""Sorted hash index: lookups, updates and hash collisions."""

import random

import numpy as np
import pytest

from flowd.identity import sorted_keys
from flowd.identity.sorted_keys import SortedKeys


def as_rows(keys: list[bytes]) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)


def test_follows_a_dict() -> None:
    rng = random.Random(4)
    every = [rng.randbytes(16) for _ in range(60)]
    known: dict[bytes, int] = {}
    keys = SortedKeys()
    for _ in range(200):
        changes = {key: rng.randrange(4) for key in rng.sample(every, rng.randrange(12))}
        known.update(changes)
        keys.update(changes)
        found = keys.find(as_rows(every)).tolist()
        assert found == [known.get(key, 0) for key in every]


def test_two_keys_of_one_hash_make_it_draw_another(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sorted_keys._draw  # pyright: ignore[reportPrivateUsage]
    useless = [np.zeros(2, np.uint64)] * 2
    monkeypatch.setattr(sorted_keys, "_draw", lambda: useless.pop() if useless else real())
    keys = SortedKeys()
    first, second, third = bytes(15) + b"\1", bytes(15) + b"\2", bytes(15) + b"\3"
    keys.update({first: 10})
    assert keys.find(as_rows([second, first])).tolist() == [0, 10]
    keys.update({second: 20})
    assert not useless
    keys.update({third: 30, first: 0})
    assert keys.find(as_rows([first, second, third])).tolist() == [0, 20, 30]
