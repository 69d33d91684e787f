"""Bad input to the whole program: one error line each, and the documented exit code."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.e2e.agent import as_nobody, flowd, running

OFF = ["--capture", "off", "--als-listen", "", "--hubble-listen", "", "--metrics-listen", ""]
STREAM = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


def one_line(stderr: str) -> str:
    """The only error line; asserts that there is no traceback."""
    assert "Traceback" not in stderr
    lines = [line for line in stderr.splitlines() if line.startswith("flowd: error: ")]
    assert len(lines) == 1, stderr
    return lines[0]


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"127.0.0.1:{other.getsockname()[1]}"


@pytest.mark.parametrize("flag", ["--als-listen", "--hubble-listen", "--metrics-listen"])
def test_a_port_in_use(taken: str, flag: str) -> None:
    ended = flowd("run", *OFF, flag, taken)
    assert ended.returncode == 2
    assert taken in one_line(ended.stderr)


@pytest.mark.parametrize("value", ["nonsense", "127.0.0.1:99999", "127.0.0.1:x", "256.0.0.1:80"])
@pytest.mark.parametrize("flag", ["--als-listen", "--hubble-listen", "--metrics-listen"])
def test_an_address_that_is_none(flag: str, value: str) -> None:
    ended = flowd("run", *OFF, flag, value)
    assert ended.returncode == 2
    assert value in one_line(ended.stderr)


def test_an_unknown_setting(tmp_path: Path) -> None:
    file = tmp_path / "flowd.yaml"
    file.write_text("hubbel_listen: 127.0.0.1:1\n")
    ended = flowd("run", "--config", str(file))
    assert ended.returncode == 2
    assert "did you mean 'hubble_listen'" in one_line(ended.stderr)
    assert flowd("run", "--hubbel-listen", "x").returncode == 2


def test_yaml_that_does_not_parse(tmp_path: Path) -> None:
    file = tmp_path / "route.yaml"
    file.write_text("kind: HTTPRoute\nspec: [unclosed\n")
    ended = flowd("run", *OFF, "--manifests", str(tmp_path))
    assert ended.returncode == 2
    assert re.search(r"route\.yaml:\d+", one_line(ended.stderr))


def test_manifests_that_are_not_there() -> None:
    ended = flowd("run", *OFF, "--manifests", "/nowhere/at/all")
    assert ended.returncode == 2
    assert "/nowhere/at/all" in one_line(ended.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_not_root() -> None:
    must = as_nobody("run", *OFF, "--capture", "on")
    assert must.returncode == 4
    assert "root" in one_line(must.stderr) or "CAP_BPF" in one_line(must.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_manifests_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    ended = as_nobody("run", *OFF, "--manifests", str(tmp_path / "private" / "k8s"))
    assert ended.returncode == 2
    assert "ermission denied" in one_line(ended.stderr)


def test_a_manifest_that_refers_to_nothing_leaves_the_agent_alive(tmp_path: Path) -> None:
    (tmp_path / "route.yaml").write_text(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        "metadata: {name: lost, namespace: shop}\n"
        "spec: {parentRefs: [{name: nowhere}], rules: [{backendRefs: [{name: none, port: 1}]}]}\n"
        "---\nkind: HTTPRoute\nmetadata: 7\n"
    )
    with running(tmp_path / "log", "--capture", "off", "--manifests", str(tmp_path)) as agent:
        shown = flowd("routes", "list", "--manifests", str(tmp_path), "-o", "json")
        assert shown.returncode == 0
        assert "NoMatchingParent" in shown.stdout
        assert agent.stop() == 0


def test_garbage_on_the_access_log_port_leaves_the_agent_alive(tmp_path: Path) -> None:
    with running(tmp_path / "log", "--capture", "off") as agent:
        with socket.create_connection(agent.als.split(":")) as raw:  # pyright: ignore[reportArgumentType]
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with grpc.insecure_channel(agent.als) as channel:
            send = channel.stream_unary(STREAM, None, None)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            with pytest.raises(grpc.RpcError):
                send(iter([os.urandom(4096)] * 8), timeout=10)
        status = flowd("status", "--server", agent.hubble, "-o", "json")
        assert status.returncode == 0, status.stderr
        assert "malformed" in status.stdout
        assert agent.stop() == 0
    assert "Traceback" not in agent.text()


def test_nobody_there() -> None:
    for verb in (["status"], ["observe"], ["list", "nodes"], ["top", "--once"]):
        ended = flowd(*verb, "--server", "127.0.0.1:1")
        assert ended.returncode == 3, (verb, ended.stderr)
        assert "127.0.0.1:1" in one_line(ended.stderr)


def test_top_without_a_terminal_points_elsewhere() -> None:
    ended = flowd("top", "--server", "127.0.0.1:1")
    assert ended.returncode == 2
    assert "observe" in ended.stderr
