"""The demo's command line."""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo import backend, client, state
from demo.client import SentRequest
from demo.cluster.errors import DemoError, NetworkError
from demo.cluster.topology import ALS_PORT
from demo.lifecycle import Demo


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code: 0 done, 1 failed, 2 usage, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.verb(options)
    except DemoError as error:
        _say(f"demo: error: {error.message}")
        if error.hint:
            _say(f"hint: {error.hint}")
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument(
        "--directory",
        type=Path,
        default=state.default_directory(),
        help="where the demo keeps its files (default: $FLOWD_DEMO_DIR or %(default)s)",
    )
    verbs = parser.add_subparsers(required=True, metavar="up|down|status|traffic")
    up = verbs.add_parser("up", help="start Envoy, backends and clients")
    up.add_argument("--loopback", action="store_true", help="no namespaces, no root")
    up.add_argument("--als", default=f":{ALS_PORT}", help="where Envoy sends its access log")
    up.add_argument("--rate", type=float, default=20, help="requests a second; 0 for none")
    up.add_argument("--record", action="store_true", help="write down every request")
    up.set_defaults(verb=_up)
    down = verbs.add_parser("down", help="stop everything and remove every trace")
    down.set_defaults(verb=_down)
    status = verbs.add_parser("status", help="what runs")
    status.set_defaults(verb=_status)
    traffic = verbs.add_parser("traffic", help="send a number of requests and sum them up")
    traffic.add_argument("--count", type=int, required=True)
    traffic.add_argument("--rate", type=float, default=0, help="a second; 0 is as fast as it goes")
    traffic.set_defaults(verb=_traffic)
    serve = verbs.add_parser("serve")
    serve.set_defaults(verb=_serve)
    send = verbs.add_parser("send")
    send.set_defaults(verb=_send)
    for each in (up, status, traffic):
        each.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser


def _up(options: argparse.Namespace) -> int:
    loopback: bool = options.loopback
    if not loopback and os.geteuid():
        _say("not root: no network namespaces, using loopback addresses")
        loopback = True
    if _is_up(options, loopback):
        _say("the demo is up already")
        return _status(options)
    began = time.monotonic()
    try:
        _start(options, loopback)
    except NetworkError as error:
        _say(f"no network namespaces ({error.message}), using loopback addresses")
        _start(options, loopback=True)
    _say(f"up in {time.monotonic() - began:.1f} s")
    return _status(options)


def _is_up(options: argparse.Namespace, loopback: bool) -> bool:
    """Whether a demo with these options runs and all its processes are alive."""
    found = state.load(options.directory)
    return (
        found is not None
        and found.healthy()
        and (found.loopback or not loopback)
        and (found.rate, found.record) == (options.rate, options.record)
        and found.als.endswith(options.als)
    )


def _start(options: argparse.Namespace, loopback: bool) -> None:
    Demo(
        options.directory,
        loopback=loopback,
        als=options.als,
        record=options.record,
        rate=options.rate,
        say=_say,
    ).start()


def _down(options: argparse.Namespace) -> int:
    Demo(options.directory).stop()
    return 0


def _status(options: argparse.Namespace) -> int:
    demo = Demo(options.directory)
    found = demo.state
    running = found.running()
    report: dict[str, Any] = {
        "directory": str(demo.directory),
        "manifests": str(demo.manifests),
        "access_log": str(demo.access_log),
        "als": found.als,
        "gateway": found.gateway,
        "node": found.topology.node,
        "mode": "loopback" if found.loopback else "namespaces",
        "interface": "lo" if found.loopback else found.topology.bridge,
        "healthy": found.healthy(),
        "processes": {
            process.name: {"pid": process.pid, "resident_bytes": process.resident_bytes()}
            for process in running
        },
    }
    if options.output == "json":
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        parts = [f"{p.name} {p.pid} ({p.resident_bytes() >> 20} MiB)" for p in running]
        lines = [f"{key:<11}{value}" for key, value in report.items() if key != "processes"]
        sys.stdout.write("\n".join([*lines, f"{'processes':<11}{', '.join(parts)}"]) + "\n")
        sys.stdout.write(f"try        curl -H 'Host: echo.example' http://{found.gateway}/\n")
    return 0 if found.healthy() else 1


def _traffic(options: argparse.Namespace) -> int:
    began = time.monotonic()
    sent = Demo(options.directory).run_traffic(options.count, options.rate)
    seconds = time.monotonic() - began
    wrong = [record for record in sent if record.status != record.expected_status]
    statuses = dict(sorted(Counter(record.status for record in sent).items()))
    report = {
        "sent": len(sent),
        "as_expected": len(sent) - len(wrong),
        "seconds": round(seconds, 3),
        "statuses": statuses,
        "kinds": dict(Counter(record.kind for record in sent).most_common()),
    }
    if options.output == "json":
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        summary = " ".join(f"{status}:{count}" for status, count in statuses.items())
        rate = len(sent) / seconds if seconds else 0
        sys.stdout.write(f"{len(sent)} requests, {rate:.0f}/s, {summary}, {len(wrong)} wrong\n")
    for record in wrong[:10]:
        _say(_difference(record))
    return 1 if wrong else 0


def _serve(options: argparse.Namespace) -> int:
    """Body of the backends' process, which `up` starts."""
    backend.serve_all(Demo(options.directory).state, options.directory)
    return 0


def _send(options: argparse.Namespace) -> int:
    """Body of the clients' process, which `up` starts."""
    client.send_steadily(Demo(options.directory).state, options.directory)
    return 0


def _difference(record: SentRequest) -> str:
    wanted = f"expected {record.expected_status}, got {record.status} {record.error}"
    return f"request {record.seq} ({record.kind}): {wanted}"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
