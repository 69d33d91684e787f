"""Connections to a server: port-forward, hubble's configuration file, --tls-allow-insecure."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from flowd.wire.observer.observer_pb2 import Namespace
from tests.support.cli_runner import Result, run_flowd
from tests.support.fake_hubble import FakeHubble
from tests.support.refused_tls import MAY_WARN, collected

__all__ = ["collected"]
pytestmark = MAY_WARN

Run = Callable[..., Result]

KUBECTL = """#!/bin/sh
echo "$@" >> {calls}
case "$1" in
get) {get} ;;
port-forward) {forward} ;;
esac
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    for name in [one for one in os.environ if one.startswith(("FLOWD_", "HUBBLE_"))]:
        monkeypatch.delenv(name)
    return lambda *args: run_flowd(monkeypatch, capsys, *args)


@pytest.fixture
def hubble() -> Iterator[FakeHubble]:
    fake = FakeHubble()
    fake.namespaces = [Namespace(namespace="shop", cluster="prod")]
    try:
        yield fake
    finally:
        fake.stop()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a fake `kubectl` into PATH; returns the file with its calls."""

    def make(get: str = "printf 80", forward: str = "") -> Path:
        calls = tmp_path / "calls"
        program = tmp_path / "kubectl"
        program.write_text(KUBECTL.format(calls=calls, get=get, forward=forward))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        return calls

    return make


def test_a_port_is_forwarded_to_the_relay_while_the_command_runs(
    run: Run, hubble: FakeHubble, kubectl: Callable[..., Path], tmp_path: Path
) -> None:
    port = hubble.start().rpartition(":")[2]
    ended = tmp_path / "ended"
    forward = (
        f"trap 'touch {ended}; exit' TERM; echo 'Forwarding from 127.0.0.1:{port} -> 4245';"
        " while :; do sleep 0.02; done"
    )
    calls = kubectl(forward=forward)
    options = ["-P", "--port-forward-port", "0", "--kube-context", "lab", "--kubeconfig", "k.yaml"]
    code, out, err = run("list", "namespaces", *options, "--server", "nobody:1")
    assert (code, out, err) == (0, "NAMESPACE\nshop\n", "")
    assert ended.exists()
    same = "--namespace=kube-system --context=lab --kubeconfig=k.yaml"
    assert calls.read_text().splitlines() == [
        f"get service/hubble-relay --output=jsonpath={{.spec.ports[0].port}} {same}",
        f"port-forward service/hubble-relay 0:80 --address=127.0.0.1 {same}",
    ]


@pytest.mark.parametrize(
    ("get", "forward", "code", "said"),
    [
        ("echo 'no such service' >&2; exit 1", "", 3, "hubble-relay: no such service"),
        ("true", "", 3, "it has no port"),
        ("printf 80", "echo 'unable to listen on port 4245'; exit 1", 3, "unable to listen"),
        ("printf 80", "exec sleep 60", 5, "did not forward a port within 0.3 s"),
        ("exec sleep 60", "", 5, "kubectl did not answer within 0.3 s"),
    ],
)
def test_what_kubectl_cannot_do_is_told(
    run: Run, kubectl: Callable[..., Path], get: str, forward: str, code: int, said: str
) -> None:
    kubectl(get, forward)
    result = run("status", "--port-forward", "--timeout", "300ms" if code == 5 else "20s")
    assert result.code == code
    assert said in result.err


def test_without_kubectl_a_forwarded_port_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run("observe", "-P")
    assert code == 2
    assert "--port-forward needs kubectl" in err


def test_a_configuration_file_gives_what_flags_and_variables_leave_open(
    run: Run, hubble: FakeHubble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = hubble.start()
    file = tmp_path / "config.yaml"
    file.write_text(f"server: {address}\noutput: wide\ntls-ca-cert-files: a,b\nkubeconfig: ''\n")
    wide = "NAMESPACE   CLUSTER\nshop        prod\n"
    assert run("list", "namespaces", "--config", str(file)).out == wide
    assert (
        run("list", "namespaces", "--config", str(file), "-o", "table").out == "NAMESPACE\nshop\n"
    )
    monkeypatch.setenv("HUBBLE_CONFIG", str(file))
    assert run("list", "namespaces").out == wide
    monkeypatch.setenv("HUBBLE_SERVER", "127.0.0.1:1")
    assert run("list", "namespaces").code == 3
    assert run("list", "namespaces", "--server", address).out == wide


@pytest.mark.parametrize(
    ("text", "said"),
    [("nothing: 1", "no setting 'nothing'"), ("- a", "must be names"), ("{", "not YAML")],
)
def test_a_configuration_file_that_cannot_be_used(
    run: Run, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    code, _, err = run("status", "--config", str(file))
    assert code == 2
    assert said in err
    assert "cannot read" in run("status", "--config", str(tmp_path / "none")).err


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: cannot make a certificate")
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=flowd", "-addext", "subjectAltName=DNS:*.node-a.hubble.test"]
    command = ["openssl", *request.split(), *names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize("mutual", [False, True])
def test_any_certificate_is_taken_when_that_is_asked_for(
    run: Run, hubble: FakeHubble, certificate: tuple[Path, Path], mutual: bool
) -> None:
    cert, key = (path.read_bytes() for path in certificate)
    server = grpc.ssl_server_credentials([(key, cert)], cert if mutual else None, mutual)
    words = ["list", "namespaces", "--server", f"tls://{hubble.start(credentials=server)}"]
    ours = ["--tls-client-cert-file", str(certificate[0])] if mutual else []
    ours += ["--tls-client-key-file", str(certificate[1])] if mutual else []
    assert run(*words, *ours).code == 3
    assert run(*words, *ours, "--tls-allow-insecure").out == "NAMESPACE\nshop\n"


def test_any_certificate_needs_a_server_that_shows_one(run: Run, hubble: FakeHubble) -> None:
    code, _, err = run("status", "--tls", "--tls-allow-insecure", "--server", hubble.start())
    assert code == 3
    assert "cannot use the certificate of 127.0.0.1:" in err
    assert run("status", "--tls", "--tls-allow-insecure", "--server", "unix:///x").code == 2


def test_debug_tells_whom_it_asks(run: Run, hubble: FakeHubble) -> None:
    address = hubble.start()
    err = run("status", "-D", "--server", address).err
    assert err == f"flowd: debug: asking {address} over plain text\n"
