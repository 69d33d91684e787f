"""Sockets without memory for storage, and a cgroup with an exclusive foreign program."""

import asyncio
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowd.capture.kernel.sockets import KernelSockets
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.status import State
from flowd_bpf import libbpf
from flowd_bpf.attach import cgroup
from flowd_bpf.attach.cgroup import CgroupLinks, find_cgroup2
from flowd_bpf.errors import BpfError
from flowd_bpf.load import loader
from tests.kernel import traffic
from tests.kernel.net import Cluster, Pod, inside

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def own_cgroup() -> Iterator[Path]:
    """Create an empty cgroup; remove it afterwards."""
    mount, _ = find_cgroup2()
    made = mount / f"fsk{os.getpid()}"
    made.mkdir()
    try:
        yield made
    finally:
        made.rmdir()


async def test_full_ring_is_counted(cluster: Cluster) -> None:
    client, server = cluster.pods
    losses = Losses()
    sockets = KernelSockets(Directory(), losses, wanted=True, ring_bytes=PAGE)
    loaded = loader.load(None, None, sockets.unit())
    try:
        sockets.start(loaded)
        await asyncio.to_thread(traffic.tcp, client, server, 40)
        sockets.update_losses()
        kept = len(sockets.read(0))
    finally:
        sockets.close()
        loaded.close()
    lost = losses.snapshot()[Place.KERNEL, "sockets_ring_full"]
    assert 0 < kept <= PAGE // 128
    assert lost + kept >= 4 * 40


def bound_storage(pod: Pod) -> None:
    """Leave no memory for the storage of new sockets in a pod."""
    setting = Path("/proc/sys/net/core/optmem_max")
    with inside(pod.namespace):
        if not setting.exists():
            pytest.skip("optmem_max is not of a network namespace here (6.9)")
        setting.write_text("64")


async def test_socket_without_memory_is_counted(cluster: Cluster) -> None:
    """optmem_max of the namespace bounds the memory of a socket's storage."""
    client, server = cluster.pods
    losses = Losses()
    sockets = KernelSockets(Directory(), losses, wanted=True)
    loaded = loader.load(None, None, sockets.unit())
    try:
        sockets.start(loaded)
        await asyncio.to_thread(traffic.tcp, client, server, 3)
        sockets.update_losses()
        before = losses.snapshot()[Place.KERNEL, "sockets_full"]
        bound_storage(client)
        await asyncio.to_thread(traffic.tcp, client, server, 5)
        sockets.update_losses()
    finally:
        sockets.close()
        loaded.close()
    assert losses.snapshot()[Place.KERNEL, "sockets_full"] - before >= 5


def test_program_that_holds_the_cgroup_alone_is_named(own_cgroup: Path) -> None:
    sockets = KernelSockets(Directory(), Losses(), wanted=True)
    loaded = loader.load(None, None, sockets.unit())
    folder = os.open(own_cgroup, os.O_RDONLY)
    lib = ctypes.CDLL(libbpf.LIBRARY)
    program = loaded.programs["flowd_sock_ops"]
    try:
        cgroup.probe(own_cgroup, cgroup.SOCK_OPS)
        assert lib.bpf_prog_attach(program, folder, cgroup.SOCK_OPS, 0) == 0
        links = CgroupLinks(own_cgroup)
        wanted = {cgroup.CONNECT4: loaded.programs["flowd_connect4"], cgroup.SOCK_OPS: program}
        with pytest.raises(BpfError, match=r"sock_ops to .*: program \d+ flowd_sock_ops holds it"):
            links.attach(wanted)
        assert len(links) == 0
        with pytest.raises(BpfError, match="holds it alone"):
            cgroup.probe(own_cgroup, cgroup.SOCK_OPS)
    finally:
        lib.bpf_prog_detach2(program, folder, cgroup.SOCK_OPS)
        os.close(folder)
        loaded.close()


def test_without_tracepoints_it_says_what_is_missing() -> None:
    sockets = KernelSockets(Directory(), Losses(), wanted=True)
    unit = sockets.unit()
    assert unit is not None
    attached = {name: how for name, how in unit.programs.items() if how[2] == 0}
    loaded = loader.load(None, None, loader.SocketUnit(unit.defines, attached))
    try:
        sockets.start(loaded)
        status = sockets.status()
    finally:
        sockets.close()
        loaded.close()
    assert status.state is State.DEGRADED
    assert "not known: why a connect failed, resets sent, resets received" in status.detail
    assert sockets.status().state is State.OFF
