"""Load Kubernetes objects from manifest files and folders (YAML or JSON)."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from flowd.errors import UsageError
from flowd.kubernetes.objects.snapshot import KINDS, ObjectKind, Objects
from flowd.kubernetes.yaml import BadYaml, as_list, as_mapping, documents
from flowd.model.losses import Losses, Place
from flowd.text import printable

MAX_FILE_BYTES = 64 << 20
MAX_FILES = 10_000
SUFFIXES = (".yaml", ".yml", ".json")

_log = logging.getLogger(__name__)


class Manifests:
    """Manifest paths, with detection of changed files."""

    def __init__(self, paths: Sequence[Path], losses: Losses) -> None:
        self._paths = list(paths)
        self._losses = losses
        self._seen: list[tuple[str, int, int, int]] = []

    def load(self) -> Objects:
        """Load all objects under the paths.

        Raises:
            UsageError: a path cannot be read, or a file does not parse.
        """
        self._seen = self._signature()
        return load_manifests(self._paths, self._losses)

    def changed(self) -> bool:
        """Whether a file was added, removed or modified since the last load."""
        try:
            return self._signature() != self._seen
        except UsageError:
            return True

    def _signature(self) -> list[tuple[str, int, int, int]]:
        signature: list[tuple[str, int, int, int]] = []
        for path in manifest_files(self._paths):
            try:
                stat = path.stat()
            except OSError:
                continue
            signature.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return signature


def manifest_files(paths: Sequence[Path]) -> list[Path]:
    """List the given files and the files below the given folders, without hidden ones.

    Raises:
        UsageError: a path does not exist or cannot be read, or there are more than MAX_FILES.
    """
    files: list[Path] = []
    for path in paths:
        try:
            files += _below(path)
        except OSError as error:
            raise UsageError(f"manifests: {path}: {error.strerror}", "check --manifests") from error
        if len(files) > MAX_FILES:
            raise UsageError(
                f"manifests: {path}: more than {MAX_FILES} files", "name a smaller folder"
            )
    return files


def _below(path: Path) -> list[Path]:
    if not path.exists():
        raise UsageError(f"manifests: {path}: no such file or folder", "check --manifests")
    if not path.is_dir():
        return [path]
    return sorted(
        entry
        for entry in path.rglob("*")
        if entry.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in entry.relative_to(path).parts)
        and entry.is_file()
    )


def load_manifests(paths: Sequence[Path], losses: Losses) -> Objects:
    """Load all objects of the kinds in `KINDS`; the last of several with one name wins.

    An invalid object is counted (place `manifest`), logged and left out.

    Raises:
        UsageError: a path cannot be read, or a file does not parse.
    """
    objects = Objects()
    for path in manifest_files(paths):
        for line, document in _read(path):
            for value in _items(document):
                _add(objects, value, f"{path}:{line}", losses)
    return objects


def _read(path: Path) -> Iterator[tuple[int, object]]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"manifests: {path}: {error.strerror or error}", "check the file's permissions"
        ) from None
    if len(text) > MAX_FILE_BYTES:
        raise UsageError(
            f"manifests: {path}: larger than {MAX_FILE_BYTES >> 20} MiB", "split the file"
        )
    try:
        yield from documents(text)
    except BadYaml as error:
        raise UsageError(
            f"manifests: {path}:{error.line}: {error.message}",
            "correct that line, or leave the file out of --manifests",
        ) from None


def _items(document: object) -> Iterator[object]:
    """Yield the items of a List (as `kubectl get -o yaml` prints), else the document itself."""
    items = as_list(_get(document, "items"))
    if items is None:
        yield document
    else:
        yield from items


def _add(objects: Objects, value: object, location: str, losses: Losses) -> None:
    found = _kind(value)
    problem, repeated = (
        _convert(objects, value, found) if isinstance(found, ObjectKind) else (found, "")
    )
    if problem:
        losses.add(Place.MANIFEST, "invalid_object")
        what, why = _label(value), printable(problem, 300)
        _log.warning("manifest object left out: %s: %s: %s", location, what, why)
    if repeated:
        objects.repeated += 1
        losses.add(Place.MANIFEST, "duplicate_name")
        _log.warning("manifest object: %s: %s: %s", location, _label(value), repeated)


def _kind(value: object) -> ObjectKind | str:
    """Kind of a value; "" for a kind that is not read, or an error text."""
    if as_mapping(value) is None:
        return "not a Kubernetes object"
    version, kind = _get(value, "apiVersion"), _get(value, "kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        return "apiVersion or kind is missing"
    return KINDS.get((version.rpartition("/")[0], kind), "")


def _convert(objects: Objects, value: object, kind: ObjectKind) -> tuple[str, str]:
    """Convert and add one object; return (error, remark about a repeated name), each or ""."""
    try:
        item = msgspec.convert(_placed(pruned(value), kind), kind.type)
        item.check()
    except (msgspec.ValidationError, ValueError) as error:
        return str(error), ""
    known = getattr(objects, kind.attribute)
    remark = "takes the place of an earlier one of its name" if item.key in known else ""
    objects.add(item)
    return "", remark


def _placed(value: object, kind: ObjectKind) -> object:
    """Set metadata.namespace of the object: `default` when missing, "" for cluster scope."""
    whole, metadata = as_mapping(value), as_mapping(_get(value, "metadata"))
    if whole is None or metadata is None:
        return value
    namespace = (metadata.get("namespace") or "default") if kind.namespaced else ""
    return {**whole, "metadata": {**metadata, "namespace": namespace}}


def pruned(value: object) -> object:
    """Remove null fields at all levels; the API treats a null like a missing field."""
    if (mapping := as_mapping(value)) is not None:
        return {key: pruned(field) for key, field in mapping.items() if field is not None}
    if (items := as_list(value)) is not None:
        return [pruned(item) for item in items]
    return value


def _get(value: object, key: str) -> object:
    mapping = as_mapping(value)
    return None if mapping is None else mapping.get(key)


def _label(value: object) -> str:
    metadata = _get(value, "metadata")
    names = (_get(value, "kind"), _get(metadata, "namespace"), _get(metadata, "name"))
    return printable("/".join(str(name)[:300] for name in names if name is not None), 400) or "?"
