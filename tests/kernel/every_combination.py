"""Load the programs of every combination of switches, each distinct program once.

`make test-switches`, and with ARGS=--second-kernel on that kernel. The verifier's result depends on
the instructions and on the types of the maps in them, so programs equal in both count as one.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from flowd_bpf.errors import BpfError
from flowd_bpf.load import compile as build
from flowd_bpf.load import loader
from flowd_bpf.load.drop_types import drop_types
from flowd_bpf.load.socket_types import RING_BYTES, socket_unit
from tests.kernel.combinations import defines, product
from tests.kernel.elsewhere import FOLDER, bcc, stand_in
from tests.kernel.elsewhere.compiler import Server

SOURCE = "flow.c"
PROGRESS = 100
OBJECTS = Path(__file__).resolve().parents[2] / ".tools" / "objects"

Kind = tuple[int, ...]
"""A map's type, key and value sizes, entries and flags."""

Alike = tuple[str, tuple[tuple[int, Kind], ...]]
"""Bytecode, and offset and kind of each map in it."""


class Verifier:
    """Loads programs, skipping those equal to an earlier one.

    Attributes:
        seen: distinct programs.
        refused: errors of the kernel.
    """

    def __init__(self) -> None:
        self.seen: set[Alike] = set()
        self.refused: list[str] = []
        self._done = 0
        self._maps: dict[Kind, int] = {}
        self._lock = Lock()
        self._text = build.inline_includes(loader.folder("src"), SOURCE, set()).encode()
        self._always = {
            "PAGE_SIZE": os.sysconf("SC_PAGE_SIZE"),
            "TICKS": loader.ticks_per_second(),
        }

    def load(self, settings: dict[str, int]) -> None:
        """Load the programs of one combination that are not in `seen`."""
        chosen = {**self._always, **settings}
        flags = [*build.FLAGS, *(f"-D{name}={value}" for name, value in chosen.items())]
        try:
            told = bcc.wanted(self._text, flags)
            for name in build.PROGRAMS[SOURCE]:
                self._load(name, told["programs"][name], told["maps"])
        except (OSError, RuntimeError) as error:
            self.refused.append(f"{settings}: {error}")
        self._done += 1
        if not self._done % PROGRESS:
            print(f"{self._done} combinations, {len(self.seen)} programs", flush=True)

    def _load(self, name: str, program: dict[str, Any], maps: list[dict[str, Any]]) -> None:
        kinds: list[Kind] = [tuple(v for n, v in one.items() if n != "name") for one in maps]
        places: list[tuple[int, int]] = program["maps"]
        alike: Alike = program["code"], tuple((at, kinds[number]) for at, number in places)
        with self._lock:
            if alike in self.seen:
                return
            self.seen.add(alike)
            fds = [self._map(kind, one) for kind, one in zip(kinds, maps, strict=True)]
        os.close(bcc.load(bcc.BPF.SCHED_CLS, name.encode(), bcc.linked(program, fds)))

    def _map(self, kind: Kind, one: dict[str, Any]) -> int:
        if kind not in self._maps:
            self._maps[kind] = bcc.make_map(one)
        return self._maps[kind]

    def close(self) -> None:
        """Let the kernel free the maps."""
        for fd in self._maps.values():
            os.close(fd)


def others_refused() -> list[str]:
    """Errors from loading drops.c and sockets.c, which have no switches."""
    try:
        drops = drop_types(64).unit
    except BpfError:
        drops = None
    loaded = loader.load({}, drops, socket_unit(RING_BYTES, loader.ticks_per_second()))
    loaded.close()
    return [f"{name}: {why}" for name, why in {**loaded.failed, **loaded.refused}.items()]


def main() -> int:
    """Load the full product and print how many the kernel refused."""
    began, every = time.monotonic(), product()
    verifier = Verifier()
    try:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(verifier.load, map(defines, every)))
    finally:
        verifier.close()
    refused = [*verifier.refused, *others_refused()]
    for line in refused:
        print(line)
    print(
        f"{len(every)} combinations, {len(verifier.seen)} distinct programs, {len(refused)} refused,"
        f" {time.monotonic() - began:.0f} s on Linux {os.uname().release}"
    )
    return bool(refused)


def compiling_here() -> int:
    """Run `main` with a compile server, on a machine where BCC compiles."""
    os.environ[FOLDER] = str(OBJECTS)
    with Server(OBJECTS):
        return main()


if __name__ == "__main__":
    if place := stand_in():
        loader.find_bcc = lambda: place
        sys.exit(main())
    sys.exit(compiling_here())
