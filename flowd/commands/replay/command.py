"""`flowd replay`: attribute recorded access logs to the routes of manifests."""

import asyncio
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowd.errors import FlowdError, UsageError
from flowd.settings import DIALECTS

if TYPE_CHECKING:
    from flowd.accesslog.snippet import Format
    from flowd.commands.replay.inputs import InputFormat, RecordedEntries
    from flowd.commands.replay.output import LineEncoder
    from flowd.gateway.attribution.attribute import Attributor
    from flowd.identity.table import IdentityTable
    from flowd.model.directory import Directory
    from flowd.model.losses import Losses

FORMATS = ("auto", "json", "text", "als", "otlp", "flows")


@click.command()
@click.option(
    "--manifests",
    multiple=True,
    required=True,
    metavar="PATH",
    help="File or folder of Kubernetes YAML. Repeatable.",
)
@click.option(
    "--input-format",
    "form",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="Kind of the files; auto looks at each.",
)
@click.option(
    "--access-log-format",
    "snippet",
    metavar="FILE",
    help="json_format or text_format of Envoy's configuration, as YAML, JSON or bare text; the "
    "formats of Envoy, Envoy Gateway, Istio, Contour, Cilium and kgateway need none. "
    "docs/attribution.md lists the operators that are read; others are skipped.",
)
@click.option(
    "--dialect",
    type=click.Choice(DIALECTS),
    default="eg",
    show_default=True,
    help="Whose order of matches and handling of paths to follow; eg is Envoy Gateway.",
)
@click.option(
    "-o", "--output", type=click.Choice(["json"]), default="json", show_default=True, help="Format."
)
@click.option(
    "--to",
    "targets",
    multiple=True,
    metavar="KIND=WHERE",
    help="Feed an exporter instead of writing lines: hubble=ADDRESS (serves until interrupted), "
    "flow-log=FILE, otlp=URL, prometheus[=FILE] (text, standard output by default). Repeatable.",
)
@click.option(
    "--speed",
    default="max",
    show_default=True,
    metavar="FACTOR",
    help="Times faster than recorded, 1 as it was; max (or 0) does not wait. Times stay.",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def command(
    manifests: tuple[str, ...],
    form: "InputFormat",
    snippet: str | None,
    dialect: str,
    output: str,
    targets: tuple[str, ...],
    speed: str,
    files: tuple[str, ...],
) -> None:
    """Attribute recorded access logs to Gateway API routes; needs neither kernel nor root.

    \b
    A FILE, plain or gzip, `-` for standard input, holds
      json, text   access-log lines, also as container runtimes wrap them
      als          StreamAccessLogsMessage, each behind a 4-byte big-endian length
      otlp         ExportLogsServiceRequest, framed the same way
      flows        Hubble's JSON lines, as in flowd's flow log

    \b
    One JSON line an entry, in order:
      {input, time, request_id, gateway, listener, route: {kind, namespace, name, rule, match},
       backend: {namespace, name, port, pod}, attribution, status, duration_us,
       downstream: {remote, local}, upstream: {local, remote}, method, host, path}

    \b
    Examples:
      kubectl logs -n envoy-gateway-system deploy/envoy | flowd replay --manifests ./k8s -
      flowd replay --manifests ./k8s --to hubble=127.0.0.1:4245 --speed 10 access.log

    Lines that are no entry are counted on stderr and left out.
    """
    from flowd.commands.replay.output import LineEncoder
    from flowd.commands.replay.pace import paced
    from flowd.commands.replay.targets import parse_targets
    from flowd.model.directory import Directory
    from flowd.model.losses import Losses

    directory, losses = Directory(), Losses()
    attributor, identities = _load_cluster(manifests, dialect, directory, losses)
    entries = _attributed(files, form, _load_formats(snippet), attributor, losses)
    encoder = LineEncoder(directory, identities)
    exporters, factor = parse_targets(targets), _speed(speed)
    pieces = paced(entries, factor)
    finished = True
    if exporters:
        from flowd.commands.replay.into_exporters import ReplayExporters, replay_to

        sinks = ReplayExporters(exporters, directory, losses)
        finished = asyncio.run(replay_to(_counted(pieces, encoder), sinks, identities, losses))
    else:
        _write_lines(pieces, encoder)
    _report(files, encoder.counts, losses)
    if not finished:
        raise KeyboardInterrupt


def _load_cluster(
    manifests: Sequence[str], dialect: str, directory: "Directory", losses: "Losses"
) -> "tuple[Attributor, IdentityTable]":
    """Routes and identities of the manifests."""
    from flowd.gateway.attribution.attribute import Attributor
    from flowd.identity.table import IdentityTable
    from flowd.kubernetes.manifests import load_manifests

    objects = load_manifests([Path(path) for path in manifests], losses)
    attributor = Attributor(directory, dialect)
    attributor.update(objects, 0)
    identities = IdentityTable(
        directory, node_name="", cluster_name="default", proc=Path(os.devnull)
    )
    identities.update(objects)
    return attributor, identities


def _load_formats(snippet: str | None) -> "Sequence[Format]":
    from flowd.accesslog.snippet import load_formats

    return load_formats(Path(snippet)) if snippet else []


def _attributed(
    files: Sequence[str],
    form: "InputFormat",
    formats: "Sequence[Format]",
    attributor: "Attributor",
    losses: "Losses",
) -> "Iterator[RecordedEntries]":
    """Entries of all files in order, each batch attributed to routes."""
    import numpy as np

    from flowd.commands.replay.inputs import RecordedEntries, read_entries

    for name in files:
        for entries in read_entries(name, form, formats, losses):
            batch = np.ascontiguousarray(entries.batch)
            attributor.attribute(batch)
            yield RecordedEntries(batch, entries.recorded, name)


def _write_lines(pieces: "Iterable[tuple[float, RecordedEntries]]", encoder: "LineEncoder") -> None:
    """Write JSON lines to stdout, each piece after its delay in seconds."""
    for delay, entries in pieces:
        if delay:
            sys.stdout.buffer.flush()
            time.sleep(delay)
        for line in encoder.lines(entries.input, entries.batch, entries.recorded):
            sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _report(files: Sequence[str], counts: dict[str, int], losses: "Losses") -> None:
    """Print the summary on stderr.

    Args:
        counts: entries by attribution.

    Raises:
        FlowdError: every line was malformed.
    """
    from flowd.model.losses import Place

    lost = {r: n for (place, r), n in losses.snapshot().items() if place == Place.ACCESS_LOG and n}
    total = sum(counts.values())
    click.echo(_summary(total, len(files), counts, lost), err=True)
    if lost and not total:
        raise FlowdError(
            f"{', '.join(files)}: no access-log entry could be read",
            "--input-format and --access-log-format tell what is in the files",
        )


def _speed(text: str) -> float:
    """The factor of --speed; 0 means no waiting.

    Raises:
        UsageError: the text is neither `max` nor a number from 0 to 1e9.
    """
    if text == "max":
        return 0.0
    try:
        factor = float(text)
    except ValueError:
        factor = -1.0
    if not 0 <= factor < 1e9:
        raise UsageError(f"--speed {text!r} is no factor", "like 1, 0.5, 60 or max")
    return factor


def _counted(
    pieces: "Iterable[tuple[float, RecordedEntries]]", encoder: "LineEncoder"
) -> "Iterator[tuple[float, RecordedEntries]]":
    """The same pieces, counted by attribution on their way to the exporters."""
    for delay, entries in pieces:
        encoder.count(entries.batch)
        yield delay, entries


def _summary(total: int, files: int, counts: dict[str, int], lost: dict[str, int]) -> str:
    """`180 entries of 1 file: name 176, listener 4; malformed: bad_time 1`."""
    text = f"{total} entries of {files} file{'s' if files > 1 else ''}"
    if counts:
        text += ": " + ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
    if lost:
        text += "; malformed: " + ", ".join(f"{name} {number}" for name, number in lost.items())
    return text
