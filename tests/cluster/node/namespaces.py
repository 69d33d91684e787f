"""The namespaces of a node: mounts, network, host name and cgroups that vanish with its last process."""

import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import places
from tests.cluster.commands import run, wait_for
from tests.cluster.node import cgroups

KINDS = ("mnt", "net", "uts", "cgroup")
# The kubelet sets these for the whole machine. A file of the node's own lies over each of them.
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
OVERLAID = (
    "/etc",
    "/opt",
    "/var/lib",
    "/var/log",
)  # what is written there is in memory and goes with the node


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its number from 1, and the addresses and names that follow from it."""

    number: int

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def pods(self) -> str:
        return f"10.244.{self.number - 1}.0/24"

    @property
    def holder(self) -> Path:
        """The file with the number of the process that holds the namespaces."""
        return places.state() / f"{self.name}.pid"

    def pid(self) -> int:
        """The holder's number; 0 where there is none that is a member of the node's cgroups."""
        try:
            pid = int(self.holder.read_text())
        except (OSError, ValueError):
            return 0
        return pid if pid in cgroups.members(self.name) else 0

    def enter(self, *command: str | Path) -> list[str]:
        """The command line that runs a command inside the node, as a member of its cgroups."""
        joined = " ".join(shlex.quote(str(path)) for path in cgroups.entrances(self.name))
        wait = 'for file in $0; do echo $$ >"$file" || exit 71; done; exec "$@"'
        kinds = ["--mount", "--net", "--uts", "--cgroup"]
        inside = ["nsenter", f"--target={self.pid()}", *kinds, "--wd=/", "--", *map(str, command)]
        return ["sh", "-c", wait, joined, *inside]

    def run(self, *command: str | Path, stdin: str = "") -> str:
        """Output of a command inside the node."""
        return run(self.enter(*command), stdin=stdin)


def make(node: Node, store: Path) -> None:
    """Make a node's namespaces with its file systems.

    Args:
        store: the kept folder of containerd's images.
    """
    cgroups.make(node.name)
    own = " ".join(shlex.quote(str(path)) for path in cgroups.entrances(node.name, "."))
    hold = 'for file in $0; do echo $$ >"$file" || exit 71; done; exec "$@"'
    unshare = ["unshare", "--mount", "--net", "--uts", "--cgroup", "--propagation", "private"]
    process = subprocess.Popen(
        ["sh", "-c", hold, own, *unshare, "sleep", "infinity"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    wait_for(f"namespaces of {node.name}", lambda: _apart(process.pid), 10, 0.02)
    for path in cgroups.entrances(node.name):
        path.write_text(str(process.pid))
    cgroups.delegate(*cgroups.folders(node.name))
    node.holder.parent.mkdir(parents=True, exist_ok=True)
    node.holder.write_text(str(process.pid))
    node.run("sh", "-eu", stdin=mounts(node, store))


def _apart(pid: int) -> bool:
    """Whether a process has left our namespaces and runs its last command."""
    try:
        if Path(f"/proc/{pid}/comm").read_text().strip() != "sleep":
            return False
        return all(
            Path(f"/proc/{pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()
            for kind in KINDS
        )
    except OSError:
        time.sleep(0.01)
        return False


def mounts(node: Node, store: Path) -> str:
    """A shell script that lays out the file systems of a node from inside."""
    lines = [
        "mount --make-rprivate /",
        f"hostname {node.name}",
        "mount -t tmpfs -o mode=755 node /run",
    ]
    lines += ["mkdir -p /run/netns /run/lock /run/sysctl /run/overlay"]
    for number, name in enumerate(OVERLAID):
        upper, work = f"/run/overlay/{number}/upper", f"/run/overlay/{number}/work"
        lines += [f"mkdir -p {upper} {work}"]
        lines += [
            f"mount -t overlay -o lowerdir={name},upperdir={upper},workdir={work} node {name}"
        ]
    lines += [
        "mkdir -p /var/lib/kubelet /var/lib/containerd /var/lib/cni /etc/cni/net.d /var/log/pods"
    ]
    lines += [
        "mount -t tmpfs node /var/lib/kubelet",
        f"mount --bind {shlex.quote(str(store))} /var/lib/containerd",
    ]
    lines += ["mount -t sysfs node /sys"]
    lines += [
        "for fs in 'bpf /sys/fs/bpf' 'debugfs /sys/kernel/debug' 'tracefs /sys/kernel/tracing'; do"
    ]
    lines += ['set -- $fs; [ ! -d "$2" ] || mount -t "$1" node "$2"; done']
    if not any(each.mount == Path("/sys/fs/cgroup") for each in cgroups.hierarchies()):
        lines += ["mount -t tmpfs -o mode=755 node /sys/fs/cgroup"]
    for each in cgroups.hierarchies():
        lines += [f"mkdir -p {each.mount}"] if each.mount != Path("/sys/fs/cgroup") else []
        lines += [
            f"mount -t {each.kind} {f'-o {each.options}' if each.options else ''} node {each.mount}"
        ]
    for name, value in SYSCTLS.items():
        kept = "/run/sysctl/" + name.replace("/", ".")
        lines += [
            f"[ ! -e /proc/sys/{name} ] || {{ echo {value} >{kept}; mount --bind {kept} /proc/sys/{name}; }}"
        ]
    return "\n".join([*lines, "mount --make-rshared /", ""])
