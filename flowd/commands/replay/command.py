"""`flowd replay`: recorded access logs and manifests in, attributed entries out."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowd.commands.routes.command import DIALECTS
from flowd.errors import FlowdError, UsageError

if TYPE_CHECKING:
    from flowd.commands.replay.inputs import Entries, InputFormat
    from flowd.commands.replay.output import LineMaker

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
    import numpy as np

    from flowd.accesslog.snippet import load_formats
    from flowd.commands.replay.inputs import Entries, read_entries
    from flowd.commands.replay.output import LineMaker
    from flowd.commands.replay.pace import paced
    from flowd.commands.replay.targets import parse_targets
    from flowd.gateway.attribution.attribute import Attributor
    from flowd.identity.table import IdentityTable
    from flowd.kubernetes.manifests import load_manifests
    from flowd.model.directory import Directory
    from flowd.model.losses import Losses, Place

    losses = Losses()
    objects = load_manifests([Path(path) for path in manifests], losses)
    directory = Directory()
    attributor = Attributor(directory, dialect)
    attributor.update(objects, 0)
    identities = IdentityTable(
        directory, node_name="", cluster_name="default", proc=Path(os.devnull)
    )
    identities.update(objects)
    formats = load_formats(Path(snippet)) if snippet else []
    maker = LineMaker(directory, identities)
    wanted = parse_targets(targets)
    factor = _speed(speed)
    name = ""

    def attributed() -> Iterator[Entries]:
        nonlocal name
        for name in files:
            for entries in read_entries(name, form, formats, losses):
                batch = np.ascontiguousarray(entries.batch)
                attributor.attribute(batch)
                yield Entries(batch, entries.recorded)

    done = True
    pieces = paced(attributed(), factor)
    if wanted:
        from flowd.commands.replay.into_exporters import Targets, replay_to

        feeding = replay_to(
            _counted(pieces, maker), Targets(wanted, directory, losses), identities, losses
        )
        done = asyncio.run(feeding)
    else:
        for delay, entries in pieces:
            if delay:
                sys.stdout.buffer.flush()
                time.sleep(delay)
            for line in maker.lines(name, entries.batch, entries.recorded):
                sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    lost = {r: n for (place, r), n in losses.snapshot().items() if place == Place.ACCESS_LOG and n}
    total = sum(maker.counts.values())
    click.echo(_summary(total, len(files), maker.counts, lost), err=True)
    if lost and not total:
        raise FlowdError(
            f"{', '.join(files)}: no access-log entry could be read",
            "--input-format and --access-log-format tell what is in the files",
        )
    if not done:
        raise KeyboardInterrupt


def _speed(text: str) -> float:
    """The factor of --speed; 0 for not waiting.

    Raises:
        UsageError: it is none.
    """
    if text == "max":
        return 0.0
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e9:
        raise UsageError(f"--speed {text!r} is no factor", "like 1, 0.5, 60 or max")
    return found


def _counted(
    pieces: "Iterator[tuple[float, Entries]]", maker: "LineMaker"
) -> "Iterator[tuple[float, Entries]]":
    for delay, entries in pieces:
        maker.count(entries.batch)
        yield delay, entries


def _summary(total: int, files: int, counts: dict[str, int], lost: dict[str, int]) -> str:
    """`180 entries of 1 file: name 176, listener 4; malformed: bad_time 1`."""
    text = f"{total} entries of {files} file{'s' if files > 1 else ''}"
    if counts:
        text += ": " + ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
    if lost:
        text += "; malformed: " + ", ".join(f"{name} {number}" for name, number in lost.items())
    return text
