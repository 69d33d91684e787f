"""`flowd parity`: compare what happens to requests before and after a move of routes."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowd.errors import ExitCode, UsageError
from flowd.settings import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowd.kubernetes.objects.snapshot import Objects
    from flowd.parity.compare.comparison import Comparison, Summary
    from flowd.parity.compare.differences import ParityVerdict
    from flowd.parity.outcome import ParityRequest

BEFORE = ("auto", "ingress-nginx", *DIALECTS)
AFTER = ("auto", *DIALECTS)


class Share(click.ParamType[float]):
    """A share: `0.1%` or `0.001`."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"{value!r} is no share; write 0.1% or 0.001", param, ctx)
        if not 0 <= number <= 1:
            self.fail(f"{value!r} is not between 0 and 1 (100%)", param, ctx)
        return number


@click.command("parity")
@click.option(
    "--before",
    multiple=True,
    required=True,
    metavar="PATH",
    help="Objects before: Ingresses or Gateway API. File or folder of YAML. Repeatable.",
)
@click.option(
    "--after",
    multiple=True,
    required=True,
    metavar="PATH",
    help="Gateway API objects after. File or folder of YAML. Repeatable.",
)
@click.option(
    "--log",
    "logs",
    multiple=True,
    metavar="FILE",
    help="Access log of ingress-nginx (default format or JSON), plain or gzip. Repeatable.",
)
@click.option(
    "--requests",
    type=click.Path(allow_dash=True, dir_okay=False),
    metavar="FILE|-",
    help="Requests, one JSON object a line.",
)
@click.option(
    "--dialect-before",
    type=click.Choice(BEFORE),
    default="auto",
    show_default=True,
    help="Controller of the objects before; auto is ingress-nginx where there are Ingresses.",
)
@click.option(
    "--dialect-after",
    type=click.Choice(AFTER),
    default="auto",
    show_default=True,
    help="Implementation after; auto is the GatewayClass's, or each of them.",
)
@click.option(
    "--configmap",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="ConfigMap of ingress-nginx, as YAML.",
)
@click.option(
    "--allow",
    type=Share(),
    default="0",
    show_default=True,
    metavar="SHARE",
    help="Share of requests that may differ, 0.1% for one in a thousand.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "junit", "html"]),
    default="table",
    show_default=True,
    help="Format.",
)
def command(
    before: tuple[str, ...],
    after: tuple[str, ...],
    logs: tuple[str, ...],
    requests: str | None,
    dialect_before: str,
    dialect_after: str,
    configmap: str | None,
    allow: float,
    output: str,
) -> None:
    """Tell which requests will be treated differently after a move of routes, and why.

    Before are Ingresses of ingress-nginx, as its last release behaves, or Gateway API objects; after
    are Gateway API objects. Requests come from an access log or as JSON lines of {host, method, path,
    headers?, scheme?, body_bytes?, count?, gateway?}.

    \b
    Verdicts: same, different, unknown (cannot be known from objects and log), depends (on the
    implementation, which is named). Only different counts against --allow.

    \b
    Examples:
      flowd parity --before ingress.yaml --after routes.yaml --log access.log
      flowd parity --before old/ --after new/ --requests requests.jsonl -o json
      kubectl get ingress -A -o yaml > old.yaml
      flowd parity --before old.yaml --after new/ --log access.log --allow 0.1% -o html > parity.html

    Exits with 1 when more requests differ than --allow says.
    """
    if bool(logs) == (requests is not None):
        raise UsageError(
            "give requests by either --log or --requests", "--requests - reads standard input"
        )
    from flowd.parity.compare.inputs import read_logs, read_requests

    old, new = _objects("--before", before), _objects("--after", after)
    dialect = _dialect_before(old, dialect_before)
    comparison = _comparison(old, new, dialect, dialect_after, configmap)
    left: Counter[str] = Counter()
    if requests:
        kinds: Iterable[ParityRequest] = read_requests(requests)
    elif comparison.configuration:
        kinds = read_logs(logs, comparison.configuration, left)
    else:
        raise UsageError("--log needs Ingresses before", "give requests by --requests")
    verdicts, summary = comparison.run(kinds)
    summary.unattributed = left
    if not summary.requests:
        lost = "".join(f", {n} {why}" for why, n in left.items())
        raise UsageError(f"no request to compare{lost}", "`flowd parity --help` says what is read")
    _write(output, verdicts, summary)
    if summary.share_different > allow:
        raise SystemExit(int(ExitCode.FAILED))


def _objects(flag: str, paths: tuple[str, ...]) -> "Objects":
    from flowd.kubernetes.manifests import load_manifests
    from flowd.model.losses import Losses

    objects = load_manifests([Path(path) for path in paths], Losses())
    if flag == "--before" and not (objects.ingresses or objects.gateways):
        raise UsageError(f"{flag}: neither Ingress nor Gateway under {', '.join(paths)}")
    return objects


def _dialect_before(objects: "Objects", wanted: str) -> str:
    if wanted == "auto":
        return "ingress-nginx" if objects.ingresses else "auto"
    if wanted == "ingress-nginx" and not objects.ingresses:
        raise UsageError("--dialect-before ingress-nginx: there is no Ingress under --before")
    return wanted


def _comparison(
    old: "Objects", new: "Objects", before: str, after: str, configmap: str | None
) -> "Comparison":
    from flowd.parity.compare.comparison import Comparison
    from flowd.parity.compare.inputs import read_configmap
    from flowd.parity.compare.sides import NGINX, NginxSide, gateway_sides, readiness
    from flowd.parity.nginx.annotations import ControllerSettings

    ready = readiness(old if old.slices else new)
    afters = gateway_sides(new, after, ready)
    if before == NGINX:
        settings = ControllerSettings.from_configmap(read_configmap(configmap) if configmap else {})
        return Comparison(NginxSide(old, settings, ready), afters)
    return Comparison(next(iter(gateway_sides(old, before, ready).values())), afters)


def _write(output: str, verdicts: "list[ParityVerdict]", summary: "Summary") -> None:
    if output == "json":
        from flowd.parity.report.json_report import json_lines

        sys.stdout.flush()
        sys.stdout.buffer.writelines(json_lines(verdicts, summary))
    elif output == "junit":
        from flowd.parity.report.junit import junit

        sys.stdout.write(junit(verdicts, summary))
    elif output == "html":
        from flowd.parity.report.html_report import html_page

        sys.stdout.write(html_page(verdicts, summary))
    else:
        from flowd.parity.report.table import table

        sys.stdout.write(table(verdicts, summary))
