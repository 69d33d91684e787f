"""Run a capture with conntrack and the translator, as the agent does."""

import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from typing import Any

import numpy as np

from flowd.capture.kernel.conntrack import Conntrack
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.status import State
from flowd.pipeline.nat.translate import NatTranslator
from flowd_bpf.conntrack.netlink import RECEIVE_BYTES
from tests.kernel.nat_net import Router, Truth
from tests.kernel.recorder import eventually, recording


class Translated:
    """A capture whose rows go through the translator, as in the agent."""

    def __init__(self, recorder: Any, receive_bytes: int) -> None:
        self.recorder = recorder
        self.conntrack = Conntrack(recorder.losses, receive_bytes=receive_bytes)
        self.translator = NatTranslator(
            recorder.directory, recorder.losses, self.conntrack.read_events, 131072
        )
        self._rows = empty_connections()

    def take(self) -> ConnectionBatch:
        """Rows since the last call."""
        batches = [self.translator.translate(batch) for batch in self.recorder.queue.take()]
        return np.concatenate([*batches, self.translator.release(False)])

    def rows(self, protocol: int) -> ConnectionBatch:
        """All rows of a protocol so far."""
        self._rows = np.concatenate([self._rows, self.take()])
        return self._rows[self._rows["protocol"] == protocol]

    async def until(self, protocol: int, met: Callable[[ConnectionBatch], bool]) -> ConnectionBatch:
        """Wait for rows that meet a condition."""
        await eventually(lambda: met(self.rows(protocol)))
        return self.rows(protocol)


@contextlib.asynccontextmanager
async def translating(
    receive_bytes: int = RECEIVE_BYTES, **options: Any
) -> AsyncGenerator[Translated]:
    """Run a capture with conntrack in the router's namespace until the block ends."""
    async with recording(**{"interfaces": ["veth*"], **options}) as recorder:
        await recorder.interfaces(3)
        made = Translated(recorder, receive_bytes)
        made.conntrack.start()
        try:
            assert made.conntrack.status().state is State.ON
            made.translator.release(False)
            yield made
        finally:
            made.conntrack.close()


def exchange(
    router: Router,
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    to: tuple[str, int],
    count: int,
    *,
    port: int = 0,
) -> list[Truth]:
    """Run `count` connections in turn; with `port` all use it and end by a reset."""
    truths: list[Truth] = []
    for _ in range(count):
        with router.client.socket(family, kind) as peer:
            if port:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.bind((router.client.at(family), port))
            peer.connect(to)
            truths.append(router.ask(peer))
    return truths
