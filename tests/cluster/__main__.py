"""The command line of the cluster: `python -m tests.cluster up`, `down`, `status`, `kubectl`, `hubble`, `enter`."""

import argparse
import os
import sys
from typing import NoReturn

from tests.cluster import lifecycle
from tests.cluster.addons.kubectl import command
from tests.cluster.addons.kubectl import kubectl as ask
from tests.cluster.errors import ClusterError
from tests.cluster.node import cgroups
from tests.cluster.node.namespaces import Node
from tests.cluster.parts import catalogue as parts
from tests.cluster.say import elapsed, say
from tests.cluster.versions import GATEWAY_API


def main() -> int:
    """Run one verb; 0 done, 1 failed, 2 usage, 4 this machine cannot run it."""
    arguments = _arguments()
    if os.geteuid():
        print("the cluster needs root: namespaces, cgroups and mounts", file=sys.stderr)
        return 4
    try:
        return VERBS[arguments.verb](arguments)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="bring the cluster up; a running one is taken down first")
    up.add_argument(
        "--gateway-api",
        choices=GATEWAY_API,
        default=os.environ.get("GATEWAY_API") or "1.6.1",
        metavar="VERSION",
    )
    up.add_argument("--nodes", type=int, choices=(1, 2), default=int(os.environ.get("NODES") or 1))
    up.add_argument("--keep", action="store_true", help="leave a failed start as it is")
    verbs.add_parser("down", help="take it down; nothing stays but the cache")
    verbs.add_parser("status", help="nodes and pods")
    for name, text in (("kubectl", "kubectl as administrator"), ("hubble", "hubble through relay")):
        verb = verbs.add_parser(name, help=text, add_help=False)
        verb.add_argument("words", nargs=argparse.REMAINDER)
    enter = verbs.add_parser("enter", help="a command, or a shell, inside a node")
    enter.add_argument("--node", type=int, default=1)
    enter.add_argument("words", nargs=argparse.REMAINDER)
    return parser.parse_args()


def _up(arguments: argparse.Namespace) -> int:
    lacking = lifecycle.up(arguments.gateway_api, arguments.nodes, arguments.keep)
    for what in lacking:
        say(f"missing: {what}")
    say(f"up after {elapsed():.0f} s" + (", without what is named above" if lacking else ""))
    return 1 if lacking else 0


def _down(_: argparse.Namespace) -> int:
    lifecycle.down()
    say("down")
    return 0


def _status(_: argparse.Namespace) -> int:
    if not lifecycle.running():
        print("no cluster")
        return 1
    print(f"{len(cgroups.members())} processes")
    print(ask("get", "nodes", "-o", "wide"))
    print(ask("get", "pods", "-A", "-o", "wide"), end="")
    return 0


def _become(node: Node, *words: str) -> NoReturn:
    """Replace this process by a command inside a node."""
    if not node.pid():
        raise ClusterError(f"{node.name} does not run: make cluster")
    line = node.enter(*words)
    os.execvp(line[0], line)


def _kubectl(arguments: argparse.Namespace) -> NoReturn:
    _become(Node(1), *command(*arguments.words))


def _hubble(arguments: argparse.Namespace) -> NoReturn:
    service = [
        "get",
        "service",
        "-n",
        "telemetry",
        "hubble-relay",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ]
    words = [
        str(parts.HUBBLE.path("hubble")),
        *arguments.words,
        "--server",
        f"{ask(*service)}:4245",
    ]
    _become(Node(1), *words)


def _enter(arguments: argparse.Namespace) -> NoReturn:
    _become(Node(arguments.node), *(arguments.words or ["sh"]))


VERBS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "kubectl": _kubectl,
    "hubble": _hubble,
    "enter": _enter,
}

if __name__ == "__main__":
    sys.exit(main())
