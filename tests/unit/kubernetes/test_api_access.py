"""Authentication: kubeconfig, service account, rotating tokens, expired certificates."""

import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowd.errors import UsageError
from flowd.kubernetes.api.client import ApiClient
from flowd.kubernetes.api.cluster import connect
from flowd.kubernetes.api.kubeconfig import KubeconfigSource, in_cluster
from flowd.kubernetes.api.limits import ApiLimits
from flowd.model.losses import Losses
from flowd.model.status import State
from tests.fakes.kube_api import PODS, FakeKubeApi, pod, until
from tests.support.kube_client import FAST, following, write_kubeconfig
from tests.support.refused_tls import MAY_WARN, collected

__all__ = ["collected"]
pytestmark = MAY_WARN

X = "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]"
TODAY, LONG_AGO = "20990101000000Z", "20200201000000Z"


@pytest.fixture
def api() -> FakeKubeApi:
    double = FakeKubeApi()
    double.put(PODS, pod("p", "10.0.0.1"))
    return double


async def test_token_file_is_read_again_when_it_no_longer_lets_us_in(
    api: FakeKubeApi, tmp_path: Path
):
    token = tmp_path / "token"
    token.write_text("first\n")
    api.token = "first"
    async with api.running(), following(api, tmp_path, tokenFile="token") as client:
        await until(lambda: api.watchers(PODS))
        token.write_text("second\n")
        api.token = "second"
        api.put(PODS, pod("q", "10.0.0.2"))
        api.cut(PODS)
        await until(lambda: len(api.seen(PODS, watch=True)) > 1 and api.watchers(PODS))
        assert client.names() == {"p", "q"}
        assert len(api.seen(PODS)) == 1
        last = next(r for r in reversed(api.requests) if r.path == PODS)
        assert last.headers["authorization"] == "Bearer second"
        await until(lambda: client.cluster.status().state == State.ON)


async def test_kubeconfig_is_read_again_when_its_token_was_replaced(
    api: FakeKubeApi, tmp_path: Path
):
    api.token = "new"
    async with api.running(), following(api, tmp_path, token="old") as client:
        await client.cluster.synced.wait()
        detail = client.cluster.status().detail
        assert "401 refused by the double" in detail
        assert "old" not in detail
        write_kubeconfig(tmp_path / "kubeconfig", api.url, {"token": "new"})
        await until(lambda: client.names() == {"p"})
        await until(lambda: client.cluster.status().state == State.ON)


async def test_token_file_that_is_gone_is_a_failure_and_not_the_end(
    api: FakeKubeApi, tmp_path: Path
):
    token = tmp_path / "token"
    api.token = "t"
    async with api.running(), following(api, tmp_path, tokenFile="token") as client:
        await client.cluster.synced.wait()
        assert "token not found" in client.cluster.status().detail
        token.write_text("t")
        await until(lambda: client.names() == {"p"})


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_credential_plugin(api: FakeKubeApi, tmp_path: Path, version: str):
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"#!/bin/sh\ncase $KUBERNETES_EXEC_INFO in *client.authentication.k8s.io/{version}*)"
        """ echo '{"status": {"token": "from-plugin"}}';; esac\n"""
    )
    plugin.chmod(0o755)
    api.token = "from-plugin"
    call = {"apiVersion": f"client.authentication.k8s.io/{version}", "command": str(plugin)}
    async with api.running(), following(api, tmp_path, exec=call) as client:
        await until(lambda: client.names() == {"p"})


async def test_credential_plugin_that_answers_nonsense(api: FakeKubeApi, tmp_path: Path):
    call = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/true"}
    async with api.running(), following(api, tmp_path, exec=call) as client:
        await client.cluster.synced.wait()
        assert client.cluster.status().state == State.DEGRADED


def certificate(folder: Path, name: str, end: str) -> ssl.SSLContext:
    """Server TLS context with a self-signed `<name>.crt` for 127.0.0.1, with an end of validity."""
    work = folder / f"{name}-authority"
    work.mkdir()
    (work / "index.txt").touch()
    (work / "serial").write_text("01\n")
    (work / "openssl.cnf").write_text(
        "[req]\ndistinguished_name=dn\n[dn]\n[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\n"
        "serial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nx509_extensions=e\n"
        "[p]\ncommonName=supplied\n[e]\nsubjectAltName=IP:127.0.0.1\n"
        "basicConstraints=critical,CA:true\n"
    )
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out csr"
    dates = f"-startdate 20200101000000Z -enddate {end}"
    for command in (
        f"req -new {key} -subj /CN={name} -config openssl.cnf",
        f"ca -batch -selfsign -keyfile key -in csr -out crt -config openssl.cnf -notext {dates}",
    ):
        subprocess.run(["openssl", *command.split()], cwd=work, check=True, capture_output=True)
    (folder / f"{name}.crt").write_bytes((work / "crt").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(work / "crt", work / "key")
    return context


async def test_expired_certificate_is_said_and_a_new_one_is_taken(api: FakeKubeApi, tmp_path: Path):
    expired = certificate(tmp_path, "expired", LONG_AGO)
    valid = certificate(tmp_path, "valid", TODAY)
    ca = {"certificate-authority": "expired.crt"}
    async with api.running(tls=expired):
        port = int(api.url.rpartition(":")[2])
        limits = replace(FAST, discovery_interval=60.0)
        async with following(api, tmp_path, limits, cluster=ca) as client:
            await client.cluster.synced.wait()
            detail = client.cluster.status().detail
            assert "the API server's certificate is not trusted: certificate has expired" in detail
            await api.stop()
            async with api.running(port, valid):
                await until(lambda: "self-signed" in client.cluster.status().detail)
                # The authority is replaced too, as `ca.crt` of a Pod can be.
                (tmp_path / "expired.crt").write_bytes((tmp_path / "valid.crt").read_bytes())
                await until(lambda: client.cluster.status().state == State.ON)
                assert client.names() == {"p"}
                # httpx2 leaves a socket to the garbage collector when a handshake is cancelled.
                await until(lambda: all(map(api.watchers, api.objects)))


async def test_in_a_pod(api: FakeKubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    valid = certificate(tmp_path, "valid", TODAY)
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("t")
    (account / "namespace").write_text("flowd-system")
    (account / "ca.crt").write_bytes((tmp_path / "valid.crt").read_bytes())
    assert not in_cluster(str(account))
    async with api.running(tls=valid):
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", api.url.rpartition(":")[2])
        assert in_cluster(str(account))
        client = ApiClient(KubeconfigSource(service_account=str(account)).connection, ApiLimits())
        try:
            await client.get(PODS)
        finally:
            await client.close()
    assert api.requests[0].headers["authorization"] == "Bearer t"
    assert api.requests[0].headers["user-agent"].startswith("flowd/")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clusters: [", ":1: not YAML"),
        ("kind: Config", "'clusters' is missing"),
        ("[]", ""),
        ("", ""),
        ("clusters: 7", ""),
        ("clusters: []\ncontexts: []", "No current context"),
        ("clusters: []\ncontexts: []\ncurrent-context: x", "Context 'x' not found"),
        (
            "clusters: []\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: c}}]",
            "'c' is missing",
        ),
        (
            "clusters: [{name: c, cluster: {server: 'nowhere'}}]\n" + X,
            "server 'nowhere' is not a URL",
        ),
        (
            "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority: no.crt}}]\n"
            + X,
            "No such file or directory",
        ),
    ],
)
def test_bad_kubeconfig_is_one_line(tmp_path: Path, text: str, told: str):
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        connect(str(path), "", Losses())
    assert raised.value.message.startswith(f"kubeconfig {path}")
    assert told in raised.value.message
    assert "\n" not in raised.value.message
    assert raised.value.hint


def test_kubeconfig_that_is_not_there(tmp_path: Path):
    with pytest.raises(UsageError, match="not found"):
        connect(str(tmp_path / "none"), "", Losses())


def test_context_is_chosen(tmp_path: Path):
    path = write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1", {})
    document: dict[str, Any] = {"server": "http://127.0.0.1:2"}
    text = path.read_text().replace("contexts:", "contexts:\n- {name: two, context: {cluster: d}}")
    text = text.replace("clusters:", f"clusters:\n- {{name: d, cluster: {document}}}")
    path.write_text(text)
    assert KubeconfigSource(str(path)).connection().url == "http://127.0.0.1:1"
    assert KubeconfigSource(str(path), "two").connection().url == "http://127.0.0.1:2"
    with pytest.raises(UsageError, match="three"):
        connect(str(path), "three", Losses())


def test_no_kubeconfig_and_no_pod(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert connect("", "", Losses()) is None


def test_the_http_client_is_loaded_only_where_there_is_a_server():
    code = "import sys, flowd.agent; print({'httpx2', 'lightkube'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
