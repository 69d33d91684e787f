"""Debian's packages unpacked into the cache: nothing is installed, no service is started."""

import re
import shutil
from pathlib import Path

from tests.cluster.commands import GENTLE, run
from tests.cluster.errors import ClusterError
from tests.cluster.parts.part import Part
from tests.cluster.say import say

PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "buildah",
    "debootstrap",
    "prometheus",
)
INSTALL = re.compile(r"^Inst (\S+) .*?\((\S+)", re.MULTILINE)
SKIPPED = {"login", "passwd", "uidmap"}  # a container engine's wish for users without root


def make(part: Part) -> None:
    """Unpack the packages with what they need and this machine does not have.

    Raises:
        ClusterError: this is no Debian, or its archive cannot be reached.
    """
    if shutil.which("apt-get") is None:
        raise ClusterError(
            "apt-get is missing: containerd, runc, buildah and CNI plugins are Debian's"
        )
    say("debian: unpacking " + ", ".join(PACKAGES))
    run([*GENTLE, "apt-get", "-qq", "update"], log=part.log)
    plan = run(["apt-get", "-s", "--no-install-recommends", "install", *PACKAGES])
    wanted = {name: version for name, version in INSTALL.findall(plan) if name not in SKIPPED}
    for name in PACKAGES:  # those that are installed are unpacked all the same: one place for all
        wanted.setdefault(name, "")
    folder = part.folder / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{name}={version}" if version else name for name, version in wanted.items()]
    run(["apt-get", "-qq", "download", *names], cwd=folder, log=part.log)
    for package in sorted(folder.glob("*.deb")):
        run(["dpkg", "-x", package, part.folder / "root"], log=part.log)
    (part.folder / "versions").write_text(
        "".join(f"{path.stem}\n" for path in sorted(folder.glob("*.deb")))
    )
    shutil.rmtree(folder)


def libraries(part: Part) -> Path:
    """The folder of shared libraries that the unpacked programs need."""
    return part.folder / "root/usr/lib/x86_64-linux-gnu"
