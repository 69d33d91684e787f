"""Kubernetes objects from files and folders of YAML or JSON."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from flowd.errors import UsageError
from flowd.kubernetes.objects.snapshot import KINDS, Kind, Objects
from flowd.kubernetes.yaml import BadYaml, as_list, as_mapping, documents
from flowd.model.losses import Losses, Place
from flowd.text import printable

MAX_FILE_BYTES = 64 << 20
MAX_FILES = 10_000
SUFFIXES = (".yaml", ".yml", ".json")

_log = logging.getLogger(__name__)


class Manifests:
    """Manifest paths that can be read again when a file under them changes."""

    def __init__(self, paths: Sequence[Path], losses: Losses) -> None:
        self._paths = list(paths)
        self._losses = losses
        self._seen: list[tuple[str, int, int, int]] = []

    def load(self) -> Objects:
        """All objects under the paths.

        Raises:
            UsageError: a path that cannot be read, or a file that does not parse.
        """
        self._seen = self._signature()
        return load_manifests(self._paths, self._losses)

    def changed(self) -> bool:
        """Whether a file was added, removed or written since the last load."""
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
    """The files named, and those below the folders named, in order; hidden ones are left out.

    Raises:
        UsageError: a path that is not there or may not be read, or too many files.
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
    """All objects of the kinds in `KINDS` under the paths; the last of a name wins.

    An object of a wrong shape is counted (place `manifest`), logged and left out.

    Raises:
        UsageError: a path that cannot be read, or a file that does not parse.
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
    """The document itself, or the items of a list as `kubectl get -o yaml` prints it."""
    items = as_list(_get(document, "items"))
    if items is None:
        yield document
    else:
        yield from items


def _add(objects: Objects, value: object, where: str, losses: Losses) -> None:
    found = _kind(value)
    problem, repeated = _convert(objects, value, found) if isinstance(found, Kind) else (found, "")
    if problem:
        losses.add(Place.MANIFEST, "invalid_object")
        what, why = _label(value), printable(problem, 300)
        _log.warning("manifest object left out: %s: %s: %s", where, what, why)
    if repeated:
        objects.repeated += 1
        losses.add(Place.MANIFEST, "duplicate_name")
        _log.warning("manifest object: %s: %s: %s", where, _label(value), repeated)


def _kind(value: object) -> Kind | str:
    """The kind to read a value as, "" for one that is passed over, or what is wrong with it."""
    if as_mapping(value) is None:
        return "not a Kubernetes object"
    version, kind = _get(value, "apiVersion"), _get(value, "kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        return "apiVersion or kind is missing"
    return KINDS.get((version.rpartition("/")[0], kind), "")


def _convert(objects: Objects, value: object, kind: Kind) -> tuple[str, str]:
    """Keep one object; what is wrong with it, or with its name, or ""."""
    try:
        item = msgspec.convert(_placed(pruned(value), kind), kind.type)
        item.check()
    except (msgspec.ValidationError, ValueError) as error:
        return str(error), ""
    known = getattr(objects, kind.attribute)
    told = "takes the place of an earlier one of its name" if item.key in known else ""
    objects.add(item)
    return "", told


def _placed(value: object, kind: Kind) -> object:
    """The object with its metadata.namespace set: `default` when it is left out."""
    whole, metadata = as_mapping(value), as_mapping(_get(value, "metadata"))
    if whole is None or metadata is None:
        return value
    namespace = (metadata.get("namespace") or "default") if kind.namespaced else ""
    return {**whole, "metadata": {**metadata, "namespace": namespace}}


def pruned(value: object) -> object:
    """The same without null fields: the API takes a null as a field that is not there."""
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
