"""The image debian:12-slim, made by debootstrap with this machine's certificates and package settings."""

import shutil
from pathlib import Path

from tests.cluster import places, versions
from tests.cluster.commands import GENTLE, run
from tests.cluster.errors import ClusterError
from tests.cluster.images import buildah
from tests.cluster.parts import catalogue

REFERENCE = "localhost/debian:12-slim"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
STAMP = "2"  # counts up when the image is made otherwise, and all on it must follow
CLUTTER = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
)


def make() -> None:
    """Make the image where buildah does not have it as it should be."""
    made = buildah.storage() / "base.stamp"
    if made.exists() and made.read_text() == STAMP and buildah.exists(REFERENCE):
        return
    folder = places.cache() / f"debian-{versions.DEBIAN}" / "image"
    shutil.rmtree(folder, ignore_errors=True)
    _bootstrap(folder)
    _settle(folder)
    settings = ["--cmd", "/bin/bash", "--env", f"SSL_CERT_FILE={CERTIFICATES}"]
    settings += ["--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    buildah.make_image(REFERENCE, "scratch", [(folder, "/")], settings)
    shutil.rmtree(folder)
    made.write_text(STAMP)


def _bootstrap(folder: Path) -> None:
    """Unpack the smallest Debian from the archive that this machine's apt uses."""
    tools = catalogue.DEBIAN.folder / "root"
    script = tools / "usr/sbin/debootstrap"
    alone = ["unshare", "--mount", "--propagation", "private"]
    command = [
        *GENTLE,
        *alone,
        "sh",
        script,
        "--variant=minbase",
        versions.DEBIAN,
        folder,
        _archive(),
    ]
    run(command, env={"DEBOOTSTRAP_DIR": str(tools / "usr/share/debootstrap")}, log=buildah.log())


def _archive() -> str:
    """The address of the Debian archive in apt's settings.

    Raises:
        ClusterError: they name none of this release.
    """
    listed = run(["apt-get", "indextargets", "--format", "$(CODENAME) $(SUITE) $(REPO_URI)"])
    for line in listed.splitlines():
        codename, _, address = line.split(" ", 2)
        if codename == versions.DEBIAN:
            return address
    raise ClusterError(f"apt knows no archive of Debian {versions.DEBIAN}")


def _settle(folder: Path) -> None:
    """Give the image the certificates and package sources of this machine; drop what no pod reads."""
    own = Path("/usr/local/share/ca-certificates")
    if own.is_dir():
        shutil.copytree(own, folder / own.relative_to("/"), dirs_exist_ok=True)
    (folder / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    shutil.copy(CERTIFICATES, folder / CERTIFICATES[1:])
    if Path("/etc/pip.conf").exists():
        shutil.copy("/etc/pip.conf", folder / "etc/pip.conf")
    (folder / "etc/apt/sources.list").write_text("")
    for path in Path("/etc/apt/sources.list.d").glob("*.sources"):
        shutil.copy(path, folder / "etc/apt/sources.list.d")
    if (listed := Path("/etc/apt/sources.list")).exists():
        shutil.copy(listed, folder / "etc/apt/sources.list")
    for name in CLUTTER:
        for path in (folder / name).glob("*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
