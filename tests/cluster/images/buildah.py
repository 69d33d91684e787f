"""Debian's buildah, unpacked and not installed, with a store of its own in the cache."""

from collections.abc import Sequence
from pathlib import Path

from tests.cluster import places
from tests.cluster.commands import GENTLE, run
from tests.cluster.parts import catalogue, debian

# buildah starts itself again without its environment, so its libraries must lie where the linker looks
WITH_LIBRARIES = """
for own in /usr/lib/*-linux-gnu; do
  case $0 in *"$own") mount -t overlay -o "lowerdir=$0:$own" libraries "$own" ;; esac
done
exec "$@"
"""


def storage() -> Path:
    """The folder of buildah's layers."""
    return places.cache() / "buildah"


def log() -> Path:
    """What the last builds said."""
    return storage() / "build.log"


def buildah(*words: str | Path, quiet: bool = True) -> str:
    """Output of buildah; a mount that it makes ends with it, also when it is killed.

    Args:
        quiet: its output goes to a log and not into the result.
    """
    root = catalogue.DEBIAN.folder / "root"
    storage().mkdir(parents=True, exist_ok=True)
    alone = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", WITH_LIBRARIES]
    command = [*GENTLE, *alone, debian.libraries(catalogue.DEBIAN), root / "usr/bin/buildah"]
    command += ["--root", storage() / "layers", "--runroot", storage() / "run"]
    command += [
        "--storage-driver",
        "overlay",
        "--registries-conf",
        root / "etc/containers/registries.conf",
    ]
    command += ["--registries-conf-dir", root / "etc/containers/registries.conf.d"]
    policy = ["--signature-policy", root / "etc/containers/policy.json"]
    with_policy = [
        words[0],
        *(policy if words[0] in ("bud", "commit", "from", "push") else []),
        *words[1:],
    ]
    return run(
        [*command, *with_policy], env={"BUILDAH_ISOLATION": "chroot"}, log=log() if quiet else None
    )


def make_image(
    reference: str, base: str, files: Sequence[tuple[Path, str]], config: Sequence[str]
) -> None:
    """Make an image of files on a base.

    Args:
        base: an image, or scratch.
        files: each with its place in the image.
        config: options of `buildah config`.
    """
    pull = ["--pull-never"] if base != "scratch" else []
    container = buildah("from", *pull, base, quiet=False).strip()
    try:
        for source, target in files:
            buildah("copy", container, source, target)
        buildah("config", *config, container)
        buildah("commit", container, reference)
    finally:
        buildah("rm", container)


def run_in(container: str, script: str) -> None:
    """Run a shell script in a container that is being made."""
    buildah("run", container, "--", "sh", "-euc", script)


def export(reference: str, archive: Path) -> None:
    """Write an image as an archive that containerd imports."""
    archive.unlink(missing_ok=True)
    buildah("push", reference, f"docker-archive:{archive}:{reference}")


def exists(reference: str) -> bool:
    """Whether buildah has an image."""
    names = buildah("images", "--format", "{{.Name}}:{{.Tag}}", quiet=False)
    return reference in names.split()
