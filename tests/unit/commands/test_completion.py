"""`flowd completion`, the values it completes, and `flowd version`."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import flowd
from flowd.cli import flowd as root
from flowd.observe import complete
from flowd.wire.flowd import agent_pb2 as agent
from flowd.wire.observer.observer_pb2 import Namespace
from tests.support import observe_samples as samples
from tests.support.cli_runner import Result, run_flowd
from tests.support.fake_hubble import FakeHubble

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *args: run_flowd(monkeypatch, capsys, *args)


@pytest.fixture
def hubble(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHubble]:
    fake = FakeHubble()
    fake.flows = [samples.SYN, samples.LOST]
    fake.namespaces = [Namespace(namespace="shop"), Namespace(namespace="shipping")]
    try:
        monkeypatch.setenv("FLOWD_SERVER", fake.start())
        yield fake
    finally:
        fake.stop()


def offered(*words: str) -> list[str]:
    """Completions that the shell offers for the last word."""
    *before, text = words
    found = ShellComplete(root, {}, "flowd", "_FLOWD_COMPLETE").get_completions(before, text)
    return [item.value for item in found]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_name_the_command(run: Run, shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "_FLOWD_COMPLETE" in out
    assert "flowd" in out


def test_bash_takes_its_script(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "flowd.bash"
    script.write_text(run("completion", "bash").out)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_other_shells_are_refused(run: Run) -> None:
    assert run("completion", "tcsh").code == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("obs",), ["observe"]),
        (("observe", "--verdict", "DRO"), ["DROPPED"]),
        (("observe", "--protocol", "icmp"), ["icmp", "icmpv4", "icmpv6"]),
        (("observe", "--type", "tr"), ["trace", "trace-sock"]),
        (("observe", "--from-identity", "wor"), ["world", "world-ipv4", "world-ipv6"]),
        (("observe", "--time-format", "RFC3339M"), ["RFC3339Milli", "RFC3339Micro"]),
        (("observe", "--attribution", "res"), ["resolver"]),
        (("observe", "-o", "w"), ["wide"]),
        (("observe", "--from-p"), ["--from-pod", "--from-port"]),
        (("list", "n"), ["namespaces", "nodes"]),
        (("watch", "p"), ["peers"]),
    ],
)
def test_values_are_completed(words: tuple[str, ...], expected: list[str]) -> None:
    assert offered(*words) == expected


def test_names_are_asked_from_the_server(
    hubble: FakeHubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complete, "TIMEOUT_SECONDS", 30.0)
    assert offered("observe", "-n", "sh") == ["shipping", "shop"]
    assert offered("observe", "--to-namespace", "sho") == ["shop"]
    assert offered("observe", "--pod", "pay") == ["pay/ledger-0"]


def test_every_server_is_asked(hubble: FakeHubble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete, "TIMEOUT_SECONDS", 30.0)
    other = FakeHubble()
    other.namespaces = [Namespace(namespace="shore")]
    servers = ["--server", os.environ["FLOWD_SERVER"], "--server", other.start()]
    try:
        assert offered("observe", *servers, "-n", "sho") == ["shop", "shore"]
        assert offered("observe", "-P", "-n", "sho") == []
    finally:
        other.stop()


def test_routes_are_asked_from_the_agent(
    hubble: FakeHubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complete, "TIMEOUT_SECONDS", 30.0)
    listeners = [agent.Listener(name="http"), agent.Listener(name="https")]
    rule = agent.Rule(backends=[agent.Backend(namespace="shop", name="cart")])
    hubble.routes = agent.RoutesResponse(
        gateways=[agent.Gateway(namespace="infra", name="edge", listeners=listeners)],
        routes=[agent.Route(kind="HTTPRoute", namespace="shop", name="web", rules=[rule])],
    )
    assert offered("observe", "--route", "sh") == ["shop/web"]
    assert offered("observe", "--gateway", "") == ["infra/edge"]
    assert offered("observe", "--listener", "htt") == ["http", "https"]
    assert offered("observe", "--backend", "shop/c") == ["shop/cart"]


def test_without_a_server_nothing_is_offered(hubble: FakeHubble) -> None:
    hubble.stop()
    assert offered("observe", "-n", "") == []


def test_version(run: Run) -> None:
    versions = json.loads(run("version", "-o", "json").out)
    assert versions["version"] == flowd.__version__
    assert versions["python"] == platform.python_version()
    assert versions["kernel"] == platform.release()
    assert set(versions) == {"version", "python", "platform", "kernel", "bcc"}
    lines = run("version").out.splitlines()
    assert lines[0] == f"flowd {flowd.__version__}"
    assert f"bcc: {versions['bcc'] or 'not installed'}" in lines


def test_version_does_not_import_bcc() -> None:
    code = "import sys; from flowd.commands.version import bcc_version as b; b(); "
    code += "print([m for m in ('bcc', 'numpy', 'grpc') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
