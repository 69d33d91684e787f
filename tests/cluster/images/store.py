"""containerd's kept store: its state right after the import of images, restored before every start.

containerd forgets nothing by itself when the cluster is killed. So its two databases are copied when
no container has run yet; before a start the copies replace what the last run left, and the folders
that the copies do not know are deleted.
"""

import json
import shutil
import tempfile
from pathlib import Path

from tests.cluster import places, versions
from tests.cluster.commands import run
from tests.cluster.errors import ClusterError
from tests.cluster.images import buildah
from tests.cluster.images.catalogue import Image
from tests.cluster.node.namespaces import Node
from tests.cluster.node.runtime import ctr
from tests.cluster.parts import catalogue as parts
from tests.cluster.say import say

DATABASES = (
    "io.containerd.metadata.v1.bolt/meta.db",
    "io.containerd.snapshotter.v1.overlayfs/metadata.db",
)
SNAPSHOTS = "io.containerd.snapshotter.v1.overlayfs/snapshots"
VOLATILE = ("io.containerd.grpc.v1.cri", "io.containerd.runtime.v2.task", "tmpmounts")


def folder(number: int = 1) -> Path:
    """The store of a node's containerd; the first one's is kept, the others' are copies of it."""
    name = "root" if number == 1 else f"root-{number}"
    return places.cache() / f"containerd-store-{versions.STORE}" / name


def _kept() -> Path:
    return folder().parent / "kept"


def imported() -> dict[str, str]:
    """The stamp of every image that the kept store holds."""
    try:
        return json.loads((_kept() / "images.json").read_text())
    except (OSError, ValueError):
        return {}


def restore() -> None:
    """Bring the store back to what it was after the import; containerd must not run."""
    folder().mkdir(parents=True, exist_ok=True)
    if not (_kept() / "images.json").exists():
        shutil.rmtree(folder())
        folder().mkdir()
        return
    for name in VOLATILE:
        shutil.rmtree(folder() / name, ignore_errors=True)
    known = set(json.loads((_kept() / "snapshots.json").read_text()))
    for path in (folder() / SNAPSHOTS).iterdir():
        if path.name not in known:
            shutil.rmtree(path)
    for name in DATABASES:
        shutil.copy(_kept() / Path(name).name, folder() / name)


def copy_for(number: int) -> None:
    """Give a further node the kept store: hard links to files that nobody writes, and its own databases."""
    target = folder(number)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for part in ("io.containerd.content.v1.content", "io.containerd.snapshotter.v1.overlayfs"):
        run(["cp", "-al", folder() / part, target / part])
    for name in DATABASES:
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).unlink(missing_ok=True)
        shutil.copy(_kept() / Path(name).name, target / name)


def keep(stamps: dict[str, str]) -> None:
    """Copy the databases after an import; containerd must have ended."""
    (_kept() / "images.json").unlink(missing_ok=True)
    _kept().mkdir(exist_ok=True)
    for name in DATABASES:
        shutil.copy(folder() / name, _kept() / Path(name).name)
    snapshots = sorted(path.name for path in (folder() / SNAPSHOTS).iterdir())
    (_kept() / "snapshots.json").write_text(json.dumps(snapshots))
    (_kept() / "images.json").write_text(json.dumps(stamps, indent=1))


def outdated(images: tuple[Image, ...]) -> list[Image]:
    """Images that are not in the store as they should be, without those whose parts are missing."""
    have = imported()
    return [
        image
        for image in images
        if not any(part.missing() for part in image.needs)
        and have.get(image.reference) != image.stamp()
    ]


def bring_in(node: Node, images: list[Image]) -> dict[str, str]:
    """Make images and import them; returns the new stamps of all that the store has.

    An image that cannot be made is named, and the rest goes on.
    """
    stamps = imported()
    for image in images:
        say(f"image {image.reference}: making")
        try:
            stamp = image.stamp()
            image.make()
            say(f"image {image.reference}: importing")
            _import(node, image.reference)
        except ClusterError as error:
            say(f"image {image.reference} cannot be made: {error}")
            stamps.pop(image.reference, None)
        else:
            stamps[image.reference] = stamp
    return stamps


def _import(node: Node, reference: str) -> None:
    with tempfile.TemporaryDirectory(dir=places.cache()) as there:
        archive = Path(there, "image.tar")
        buildah.export(reference, archive)
        run(node.enter(*ctr(parts.DEBIAN, "images", "import", archive)))
