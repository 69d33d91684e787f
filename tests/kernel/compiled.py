"""Cache of loaded programs, so that captures with equal options compile once."""

import os
from collections.abc import Mapping

import numpy as np

from flowd_bpf.layout import Counter, SocketCounter
from flowd_bpf.load import loader
from flowd_bpf.maps.maps import HashMap, possible_cpus
from tests.kernel.programs import clear

_COUNTED = {"flowd_counters": len(Counter), "flowd_socket_counters": len(SocketCounter)}


class Compiled:
    """Replaces `loader.load`: equal arguments return the same programs and maps.

    A capture drains its rings when it closes. `load` empties the connection table and resets the
    counters.
    """

    def __init__(self) -> None:
        self._load = loader.load
        self._kept: dict[str, loader.LoadedPrograms] = {}

    def load(
        self,
        settings: Mapping[str, int] | None = None,
        drops: loader.DropUnit | None = None,
        sockets: loader.SocketUnit | None = None,
    ) -> loader.LoadedPrograms:
        """Duplicated descriptors for one capture."""
        key = repr((settings, drops, sockets))
        if key not in self._kept:
            self._kept[key] = self._load(settings, drops, sockets)
        kept = self._kept[key]
        clear(kept.maps)
        for name, length in _COUNTED.items():
            if name in kept.maps:
                zeros = np.zeros((1, possible_cpus(), length), "u8")
                slot = np.dtype(("u8", (possible_cpus(), length)))
                HashMap(kept.maps[name], np.dtype("u4"), slot).update(np.zeros(1, "u4"), zeros)
        return loader.LoadedPrograms(
            {name: os.dup(fd) for name, fd in kept.programs.items()},
            {name: os.dup(fd) for name, fd in kept.maps.items()},
            dict(kept.failed),
            kept.reduced,
            dict(kept.refused),
        )

    def close(self) -> None:
        """Let the kernel free them."""
        for kept in self._kept.values():
            kept.close()
