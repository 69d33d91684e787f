"""Connection and credentials of the API server: kubeconfig file or the Pod's service account."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx2
import msgspec
import yaml
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import NameValue, User
from lightkube.core.exceptions import ConfigError

from flowd.errors import UsageError
from flowd.kubernetes.api.http_proxy import proxy_for

EXEC_V1 = "client.authentication.k8s.io/v1"
EXEC_V1BETA1 = "client.authentication.k8s.io/v1beta1"


@dataclass(frozen=True, slots=True)
class ApiConnection:
    """Parameters of an HTTP client: URL of the server, TLS, authentication, proxy.

    Attributes:
        server_name: name required in the certificate of the server, "" for the host of the URL.
        proxy: URL of an HTTP proxy, or "".
    """

    url: str
    tls: ssl.SSLContext
    auth: httpx2.Auth | None
    server_name: str = ""
    proxy: str = ""


class ClusterOptions(msgspec.Struct, frozen=True):
    """Fields of a kubeconfig cluster that lightkube ignores."""

    server_name: str = msgspec.field(default="", name="tls-server-name")
    proxy: str = msgspec.field(default="", name="proxy-url")


class NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: ClusterOptions


class ClusterList(msgspec.Struct, frozen=True):
    clusters: tuple[NamedCluster, ...]


@dataclass(frozen=True, slots=True)
class KubeconfigSource:
    """Location of the configuration; `connection` reads it each time.

    Attributes:
        kubeconfig: path of the file, or "" for the Pod's service account.
        context: name of the context in the file, or "" for the current context.
        service_account: folder of the service account's token and certificate.
    """

    kubeconfig: str = ""
    context: str = ""
    service_account: str = SERVICE_ACCOUNT

    def connection(self) -> ApiConnection:
        """Read the configuration files.

        Raises:
            UsageError: a file cannot be read or is incomplete.
        """
        source = f"kubeconfig {self.kubeconfig}" if self.kubeconfig else "service account"
        try:
            return self._read()
        except PermissionError as error:
            raise UsageError(
                f"{source}: {error.filename}: permission denied",
                "let the user that runs the agent read it",
            ) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            raise UsageError(f"{source}{line}: not YAML", "check --kubeconfig") from None
        except KeyError as error:
            message = f"{source}: {error.args[0]!r} is missing"
            raise UsageError(message, "check --kubeconfig and --kube-context") from None
        except (
            ConfigError, OSError, ValueError, TypeError, AttributeError, msgspec.MsgspecError
        ) as error:  # fmt: skip
            text = str(error).partition("\n")[0] or type(error).__name__
            raise UsageError(f"{source}: {text}", "check --kubeconfig and --kube-context") from None

    def _read(self) -> ApiConnection:
        options = ClusterOptions()
        if self.kubeconfig:
            config = KubeConfig.from_file(self.kubeconfig).get(self.context or None)
            assert config is not None
            options = _cluster_options(Path(self.kubeconfig).expanduser(), config.context.cluster)
        else:
            config = KubeConfig.from_service_account(self.service_account).get()
        assert config is not None
        if httpx2.URL(config.cluster.server).scheme not in ("http", "https"):
            raise ConfigError(f"server {config.cluster.server!r} is not a URL")
        user = _completed(config)
        tls = client_adapter.verify_cluster(config.cluster, user, config.abs_file, trust_env=False)
        server = config.cluster.server
        proxy = proxy_for(server, options.proxy)
        return ApiConnection(
            server, tls, client_adapter.user_auth(user), options.server_name, proxy
        )


def _cluster_options(file: Path, cluster: str) -> ClusterOptions:
    document = msgspec.convert(yaml.safe_load(file.read_text()), ClusterList)
    return next(entry.cluster for entry in document.clusters if entry.name == cluster)


def _completed(config: SingleConfig) -> User:
    """Complete the user of a context by the parts of the kubeconfig format that lightkube lacks.

    A context may have no user; a relative `tokenFile` is relative to the kubeconfig; a credential
    plugin of `client.authentication.k8s.io/v1` runs like one of v1beta1, and learns its version
    from the environment variable KUBERNETES_EXEC_INFO.
    """
    user = config.user or User()
    if user.token_file:
        user = msgspec.structs.replace(user, token_file=str(config.abs_file(user.token_file)))
    if user.exec:
        version = user.exec.apiVersion
        info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
        variable = NameValue("KUBERNETES_EXEC_INFO", msgspec.json.encode(info).decode())
        plugin = msgspec.structs.replace(
            user.exec,
            apiVersion=EXEC_V1BETA1 if version == EXEC_V1 else version,
            env=[*(user.exec.env or []), variable],
        )
        user = msgspec.structs.replace(user, exec=plugin)
    return user


def in_cluster(service_account: str = SERVICE_ACCOUNT) -> bool:
    """Whether this process runs in a Pod with a service account."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and Path(service_account, "token").is_file()
