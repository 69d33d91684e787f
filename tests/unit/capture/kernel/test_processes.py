"""Container and pod of cgroup paths, as common node configurations write them."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from flowd.capture.kernel.cgroups import CgroupPaths
from flowd.capture.kernel.processes import INITIAL_PIDS, Processes, parse_cgroup
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.process import Process
from flowd_bpf.attach.cgroup import cgroup2_mounts
from flowd_bpf.layout import SOCKET_EVENT

ID = "4f0c9ab2" * 8
NODE = "77d1e03c" * 8
UID = "1d4c7f10-2f3a-4b5c-8d6e-9fa0b1c2d3e4"
SLICE = UID.replace("-", "_")
STATIC = "5a1f0e9d8c7b6a594837261504f3e2d1"


BURSTABLE = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
KIND = "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice"
CONTAINERD = "/system.slice/containerd.service"


@pytest.mark.parametrize(
    ("path", "container", "pod"),
    [
        (f"/kubepods/burstable/pod{UID}/{ID}", ID, UID),
        (f"/kubepods/pod{UID}/{ID}", ID, UID),
        (f"/kubepods/besteffort/pod{UID}/crio-{ID}", ID, UID),
        (f"/kubepods/besteffort/pod{UID}", "", UID),
        (f"{BURSTABLE}{SLICE}.slice/cri-containerd-{ID}.scope", ID, UID),
        (f"/kubepods.slice/kubepods-pod{SLICE}.slice/crio-{ID}.scope", ID, UID),
        (f"/kubepods.slice/kubepods-pod{SLICE}.slice/crio-{ID}.scope/container", ID, UID),
        (f"/kubepods.slice/kubepods-pod{SLICE}.slice/crio-conmon-{ID}.scope", "", UID),
        (f"/kubepods.slice/kubepods-pod{SLICE}.slice/docker-{ID}.scope", ID, UID),
        (f"/kubepods.slice/kubepods-pod{SLICE}.slice/docker-{ID}.scope/system.slice", ID, UID),
        (f"/kubepods/burstable/pod{STATIC}/{ID}", ID, STATIC),
        (f"{BURSTABLE}{STATIC}.slice/crio-{ID}.scope", ID, STATIC),
        (f"{KIND}/kubelet-kubepods-pod{SLICE}.slice/cri-containerd-{ID}.scope", ID, UID),
        (f"/docker/{NODE}/kubelet/kubepods/burstable/pod{UID}/{ID}", ID, UID),
        (f"/system.slice/docker-{NODE}.scope/kubelet/kubepods/pod{UID}/{ID}", ID, UID),
        (f"{CONTAINERD}/kubepods-pod{SLICE}.slice:cri-containerd:{ID}", ID, UID),
        (f"/../kubepods-besteffort-pod{SLICE}.slice/cri-containerd-{ID}.scope", ID, UID),
        (f"/kubepods/pod{UID}/{ID}/docker/{NODE}", ID, UID),
        (f"8:memory:/kubepods/burstable/pod{UID}/{ID}", ID, UID),
        (f"/system.slice/docker-{ID}.scope", ID, ""),
        (f"/docker/{ID}", ID, ""),
        (f"/machine.slice/libpod-{ID}.scope/container", ID, ""),
        (f"/machine.slice/libpod-conmon-{ID}.scope", "", ""),
        ("/system.slice/ssh.service", "", ""),
        ("/user.slice/user-1000.slice/session-2.scope", "", ""),
        ("/", "", ""),
        (f"/podcast/{UID}", "", ""),
        (f"/kubepods/pod{UID}x/{ID[:-1]}", "", ""),
    ],
)
def test_path_of_a_cgroup(path: str, container: str, pod: str) -> None:
    assert parse_cgroup(path) == (container, pod)


def test_mounts_of_the_whole_tree_come_first() -> None:
    lines = [
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw",
        "40 31 0:38 /a/b /inside rw,relatime shared:9 - cgroup2 cgroup rw",
        r"41 31 0:38 / /sys/fs/with\040space rw,relatime - cgroup2 cgroup2 rw",
        "11 32 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
        "broken",
    ]
    assert cgroup2_mounts("\n".join(lines)) == [Path("/sys/fs/with space"), Path("/inside")]


def test_folders_are_found_by_inode(tmp_path: Path) -> None:
    inner = tmp_path / "kubepods" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "kubepods" / "cgroup.procs").touch()
    number = inner.stat().st_ino
    assert CgroupPaths(tmp_path).find(number) == "/kubepods/inner"
    assert CgroupPaths(tmp_path).find(tmp_path.stat().st_ino) == "/"
    assert CgroupPaths(tmp_path, max_directories=2).find(number) is None
    assert (
        CgroupPaths(tmp_path, max_directories=2).find(number, "/kubepods/inner")
        == "/kubepods/inner"
    )
    assert CgroupPaths(tmp_path, max_directories=2).find(number, "/kubepods") is None
    assert CgroupPaths(None).find(number, "/kubepods/inner") is None


def proc(tmp_path: Path, cgroups: dict[int, str], own: str = "0::/") -> Path:
    """A stand-in for /proc with the cgroup files of some processes."""
    folder = tmp_path / "proc"
    for pid, lines in {"self": own, **cgroups}.items():
        (folder / str(pid)).mkdir(parents=True)
        (folder / str(pid) / "cgroup").write_text(lines + "\n")
    (folder / "self" / "ns").mkdir()
    os.symlink(INITIAL_PIDS, folder / "self" / "ns" / "pid")
    return folder


def records(*owners: tuple[int, int, bytes]) -> NDArray[np.void]:
    made = np.zeros(len(owners), SOCKET_EVENT)
    for record, (pid, cgroup, command) in zip(made, owners, strict=True):
        record["pid"], record["cgroup"] = pid, cgroup
        record["command"] = np.frombuffer(command.ljust(16, b"\0"), "u1")
    return made


def test_owners_become_processes(tmp_path: Path) -> None:
    mount = tmp_path / "cgroup"
    pod = mount / "kubepods" / f"pod{UID}" / ID
    pod.mkdir(parents=True)
    number = pod.stat().st_ino
    directory = Directory()
    table = Processes(directory, Losses(), mount, proc=proc(tmp_path, {}))
    indexes = table.indexes(
        records((7, number, b"envoy"), (0, 0, b""), (8, number, b"envoy"), (9, 5, b"a\x1b\xff"))
    )
    assert indexes[0] == indexes[2]
    assert indexes[1] == 0
    assert directory.processes[int(indexes[0])] == Process("envoy", ID, UID, number)
    strange = directory.processes[int(indexes[3])]
    assert (strange.command, strange.cgroup) == ("a^[\ufffd", 5)


def test_container_by_cgroup_v1_where_cgroup2_tells_none(tmp_path: Path) -> None:
    mount = tmp_path / "cgroup"
    mount.mkdir()
    lines = f"8:pids:/\n4:memory:/kubepods/pod{UID}/{ID}\n0::/"
    directory = Directory()
    folder = proc(tmp_path, {7: lines}, "4:memory:/\n0::/")
    table = Processes(directory, Losses(), mount, proc=folder)
    root = mount.stat().st_ino
    known = table.index(7, root, b"nginx")
    assert directory.processes[known] == Process("nginx", ID, UID, root)
    assert directory.processes[table.index(8, root, b"nginx")] == Process("nginx", "", "", root)


def test_the_directory_is_bounded(tmp_path: Path) -> None:
    directory, losses = Directory(), Losses()
    table = Processes(directory, losses, None, proc=proc(tmp_path, {}), limit=4)
    found = [table.index(0, n + 1, b"curl") for n in range(6)]
    assert directory.processes[found[0]] == Process("curl", cgroup=1)
    assert directory.processes[found[3]] == directory.processes[found[5]] == Process("curl")
    many = [table.index(0, 99, b"c%d" % n) for n in range(20)]
    assert len(directory.processes) == 8
    assert many[-1] == 0
    assert losses.snapshot()[Place.CAPTURE, "processes_full"] == 23
