"""Run tests/kernel on a stock Debian 6.1 kernel in an emulated machine.

The guest's root is this machine's, read-only over 9p under a RAM disk overlay, so programs, virtual
environment and tests are the same. Only the kernel differs: no tcx, so clsact; no lockdown; VLAN,
Geneve, IPIP, wireguard, SCTP and IPVS as modules. It is emulated, not virtualised: it runs
anywhere, some twenty times slower, so LLVM runs on the host.

    python -m tests.kernel.second_kernel [pytest arguments]
    python -m tests.kernel.second_kernel --run tests.kernel.every_combination   # another module
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

from tests.kernel.elsewhere.compiler import Server

HERE = ROOT / ".tools" / "second-kernel"
OBJECTS = ROOT / ".tools" / "objects"  # compiled programs, by their source
PACKAGES = (
    *("qemu-system-x86", "busybox-static", "cpio", "kmod"),
    *("ipvsadm", "wireguard-tools"),  # for the tests in it
)
META = "linux-image-amd64"
MARK = "flowd-second-kernel-exit="
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_rng")
MEMORY_MB = 4096
# On a busy host the emulated timer is late; without no_timer_check it does not boot
OPTIONS = (
    "mitigations=off nokaslr tsc=reliable no_timer_check"
    " init_on_alloc=0 apparmor=0 audit=0 rcupdate.rcu_expedited=1"  # for speed
)

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in {modules}; do modprobe $module || echo "no module $module"; done
mkdir -p /host /ram /new
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host || poweroff -f
mount -t tmpfs -o size=2g ram /ram
mkdir /ram/upper /ram/work
mount -t overlay -o lowerdir=/host,upperdir=/ram/upper,workdir=/ram/work root /new || poweroff -f
mkdir -p /new/lib/modules/$(uname -r)
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 modules /new/lib/modules
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t devtmpfs dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts pts /new/dev/pts
mount -t tmpfs shm /new/dev/shm
mount -t tmpfs run /new/run
mkdir /new/run/objects
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=512000 objects /new/run/objects
mount -t cgroup2 cgroup /new/sys/fs/cgroup
mount -t bpf bpf /new/sys/fs/bpf
mount -t tracefs tracefs /new/sys/kernel/tracing
ip link set lo up
hostname second-kernel
cp /run.sh /new/tmp/run.sh
exec switch_root /new /bin/bash /tmp/run.sh </dev/null
"""

RUN = """#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export FLOWD_TEST_PATIENCE=10 FLOWD_TEST_OBJECTS=/run/objects
cd {root}
modprobe -a tun sctp nf_conntrack_netlink
{command}
status=$?; echo; echo "{mark}$status"
busybox poweroff -f
"""


def say(what: str) -> None:
    print(f"==> {what}", file=sys.stderr, flush=True)


def run(*command: str | Path, cwd: Path | None = None, quiet: bool = False) -> str:
    out = subprocess.DEVNULL if quiet else None
    return subprocess.run(
        [str(part) for part in command], check=True, cwd=cwd, text=True, stdout=subprocess.PIPE,
        stderr=out,
    ).stdout  # fmt: skip


def prepare() -> str:
    """Fetch emulator and kernel; returns the kernel's release."""
    missing = [
        name
        for name in PACKAGES
        if subprocess.run(["dpkg", "-s", name], capture_output=True, check=False).returncode
    ]
    if missing:
        say(f"installing {', '.join(missing)}")
        run("apt-get", "-qq", "update", quiet=True)
        run("apt-get", "-qq", "install", "-y", "--no-install-recommends", *missing, quiet=True)
    boot = HERE / "boot"
    if not boot.is_dir():
        shutil.rmtree(HERE, ignore_errors=True)
        HERE.mkdir(parents=True)
        depends = run("apt-cache", "depends", META, quiet=True)
        image = re.search(r"Depends: (linux-image-\S+)", depends)
        if not image:
            raise SystemExit(f"Debian's package {META} names no kernel; `apt-get update` may help")
        say(f"fetching {image[1]}")
        run("apt-get", "-qq", "download", image[1], cwd=HERE, quiet=True)
        (package,) = HERE.glob("linux-image-*.deb")
        run("dpkg", "-x", package, HERE)
        package.unlink()
    (kernel,) = boot.glob("vmlinuz-*")
    release = kernel.name.removeprefix("vmlinuz-")
    if not (HERE / "lib" / "modules" / release / "modules.dep.bin").exists():
        run("depmod", "-b", HERE, release)
    return release


def initramfs(release: str, command: str) -> Path:
    """A cpio archive with busybox, the modules for mounting the root, and the init script."""
    tree = HERE / "initramfs"
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("bin", "proc", "sys", "dev"):
        (tree / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin")
    modules = HERE / "lib" / "modules" / release
    wanted: set[Path] = set()
    for name in BOOT_MODULES:
        shown = run(
            "modprobe", "-d", HERE, "-S", release, "--show-depends", "--ignore-install", name
        )
        wanted |= {
            Path(line.split()[1]) for line in shown.splitlines() if line.startswith("insmod")
        }
    for module in wanted:
        target = tree / "lib" / "modules" / release / module.relative_to(modules)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(module, target)
    run("depmod", "-b", tree, release, quiet=True)
    init = tree / "init"
    init.write_text(INIT.format(modules=" ".join(BOOT_MODULES)))
    run_script = RUN.format(root=shlex.quote(str(ROOT)), command=command, mark=MARK)
    (tree / "run.sh").write_text(run_script)
    init.chmod(0o755)
    archive = HERE / "initramfs.cpio"
    files = subprocess.run(["find", "."], cwd=tree, check=True, capture_output=True).stdout
    with archive.open("wb") as out:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=files, stdout=out, check=True
        )
    return archive


def show(line: str) -> None:
    """Print a console line."""
    print(line, end="", flush=True)


def boot(release: str, archive: Path, hear: Callable[[str], None] = show) -> int:
    """Start the machine, print its console, and return the exit status of the command in it."""
    share = "local,path={},mount_tag={},security_model=none,readonly=on,id={},multidevs=remap"
    command = [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"),
        *("-m", str(MEMORY_MB), "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"),
        *("-kernel", str(HERE / "boot" / f"vmlinuz-{release}"), "-initrd", str(archive)),
        *("-append", f"console=ttyS0 quiet panic=-1 {OPTIONS}"),
        *("-virtfs", share.format("/", "host", "host")),
        *("-virtfs", share.format(HERE / "lib" / "modules", "modules", "modules")),
        *("-virtfs", f"local,path={OBJECTS},mount_tag=objects,security_model=none,id=objects"),
        *("-device", "virtio-rng-pci"),
    ]
    status = 1
    with (
        Server(OBJECTS),
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
        ) as machine,
    ):
        assert machine.stdout is not None
        try:
            for line in machine.stdout:
                if line.startswith(MARK):
                    status = int(line.removeprefix(MARK).strip() or 1)
                else:
                    hear(line)
        finally:
            machine.kill()
    return status


def _end(_number: int, _frame: object) -> None:
    """Let the kernel kill the emulator when this process dies."""
    sys.exit(1)


def main() -> int:
    """Exit status of the command in the guest."""
    if os.geteuid():
        raise SystemExit("needs root: the guest reads this machine's files")
    signal.signal(signal.SIGTERM, _end)
    arguments = sys.argv[1:] or ["tests/kernel"]
    release = prepare()
    if arguments[0] == "--run":
        command = shlex.join([".venv/bin/python", "-m", *arguments[1:]])
    else:
        pytest = (".venv/bin/pytest", "-p", "no:cacheprovider", "-o", "timeout=1800")
        command = shlex.join([*pytest, *arguments])
    say(f"booting {release}, emulated")
    return boot(release, initramfs(release, command))


if __name__ == "__main__":
    sys.exit(main())
