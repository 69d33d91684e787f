"""Read the inputs of a comparison: requests as JSON lines, access logs, ingress-nginx's ConfigMap."""

import contextlib
import gzip
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
import yaml

from flowd.errors import UsageError
from flowd.parity.nginx.logs import LogReader
from flowd.parity.nginx.servers import Configuration
from flowd.parity.outcome import ParityRequest

MAX_LINE = 1 << 20
"""Bytes of a JSON line."""


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = msgspec.field(default_factory=dict[str, str])


def read_configmap(path: str) -> dict[str, str]:
    """The data of a ConfigMap.

    Raises:
        UsageError: the file is no YAML mapping with `data`.
    """
    try:
        document: object = yaml.safe_load(Path(path).read_text())
        return msgspec.convert(document, _ConfigMap).data
    except (yaml.YAMLError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"--configmap {path}: {str(error).splitlines()[0]}") from None


def read_requests(path: str) -> Iterator[ParityRequest]:
    """Requests of JSON lines, of standard input for `-`.

    Raises:
        UsageError: the file cannot be read, or a line is no request; names the line.
    """
    try:
        with contextlib.ExitStack() as stack:
            file = sys.stdin.buffer if path == "-" else stack.enter_context(Path(path).open("rb"))
            yield from _decode_requests(file)
    except OSError as error:
        raise UsageError(f"--requests {path}: {error.strerror}") from None


def _decode_requests(file: BinaryIO) -> Iterator[ParityRequest]:
    decoder = msgspec.json.Decoder(ParityRequest)
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise UsageError(f"--requests: line {number} is longer than {MAX_LINE} bytes")
        if not line.strip():
            continue
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"--requests: line {number}: {error}") from None


def read_logs(
    paths: Iterable[str], configuration: Configuration, left: Counter[str]
) -> list[ParityRequest]:
    """Kinds of requests of access logs; entries that cannot be compared are counted in `left`.

    Raises:
        UsageError: a file cannot be read.
    """
    reader = LogReader(configuration)
    for path in paths:
        try:
            with _open(path) as file:
                reader.read(_progress(file, path))
        except (OSError, EOFError) as error:
            raise UsageError(f"--log {path}: {error}") from None
    kinds = reader.requests()
    summary = reader.summary
    for why, count in (
        ("malformed", summary.malformed),
        ("without host", summary.hostless),
        ("over the bound on kinds", summary.over_bound),
    ):
        if count:
            left[why] += count
    return kinds


@contextlib.contextmanager
def _open(path: str) -> Generator[Iterable[bytes]]:
    """Lines of a file, plain or gzip."""
    with Path(path).open("rb") as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked


def _progress(lines: Iterable[bytes], path: str) -> Iterator[bytes]:
    """Pass lines on; on a terminal, tell their number on stderr every million."""
    shown = sys.stderr.isatty()
    for number, line in enumerate(lines, 1):
        if shown and number % 1_000_000 == 0:
            click.echo(f"\r{path}: {number:,} lines", nl=False, err=True)
        yield line
    if shown:
        click.echo("\r\x1b[K", nl=False, err=True)
