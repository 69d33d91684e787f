"""Where the API server is and how to be let in: a kubeconfig file, or the pod's service account."""

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
class Connection:
    """What an HTTP client needs: the server's URL, TLS, who is asking, and by which way.

    Attributes:
        server_name: name that the server's certificate must carry, "" for the URL's host.
        proxy: URL of an HTTP proxy, or "".
    """

    url: str
    tls: ssl.SSLContext
    auth: httpx2.Auth | None
    server_name: str = ""
    proxy: str = ""


class Way(msgspec.Struct, frozen=True):
    """What lightkube passes over of a kubeconfig's cluster."""

    server_name: str = msgspec.field(default="", name="tls-server-name")
    proxy: str = msgspec.field(default="", name="proxy-url")


class NamedWay(msgspec.Struct, frozen=True):
    name: str
    cluster: Way


class Clusters(msgspec.Struct, frozen=True):
    clusters: tuple[NamedWay, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """Where the configuration is; `connection` reads it anew.

    Attributes:
        kubeconfig: path of the file, or "" for the pod's service account.
        context: name of the context in the file, or "" for its current one.
    """

    kubeconfig: str = ""
    context: str = ""
    service_account: str = SERVICE_ACCOUNT

    def connection(self) -> Connection:
        """The connection as the files have it now.

        Raises:
            UsageError: a file that cannot be read or does not say how to connect.
        """
        what = f"kubeconfig {self.kubeconfig}" if self.kubeconfig else "service account"
        try:
            return self._read()
        except PermissionError as error:
            raise UsageError(
                f"{what}: {error.filename}: permission denied",
                "let the user that runs the agent read it",
            ) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            raise UsageError(f"{what}{line}: not YAML", "check --kubeconfig") from None
        except KeyError as error:
            message = f"{what}: {error.args[0]!r} is missing"
            raise UsageError(message, "check --kubeconfig and --kube-context") from None
        except (
            ConfigError, OSError, ValueError, TypeError, AttributeError, msgspec.MsgspecError
        ) as error:  # fmt: skip
            text = str(error).partition("\n")[0] or type(error).__name__
            raise UsageError(f"{what}: {text}", "check --kubeconfig and --kube-context") from None

    def _read(self) -> Connection:
        way = Way()
        if self.kubeconfig:
            config = KubeConfig.from_file(self.kubeconfig).get(self.context or None)
            assert config is not None
            way = _way(Path(self.kubeconfig).expanduser(), config.context.cluster)
        else:
            config = KubeConfig.from_service_account(self.service_account).get()
        assert config is not None
        if httpx2.URL(config.cluster.server).scheme not in ("http", "https"):
            raise ConfigError(f"server {config.cluster.server!r} is not a URL")
        user = _completed(config)
        tls = client_adapter.verify_cluster(config.cluster, user, config.abs_file, trust_env=False)
        server = config.cluster.server
        proxy = proxy_for(server, way.proxy)
        return Connection(server, tls, client_adapter.user_auth(user), way.server_name, proxy)


def _way(file: Path, cluster: str) -> Way:
    document = msgspec.convert(yaml.safe_load(file.read_text()), Clusters)
    return next(entry.cluster for entry in document.clusters if entry.name == cluster)


def _completed(config: SingleConfig) -> User:
    """The context's user with what lightkube leaves out of the kubeconfig format.

    A context may have no user, a relative `tokenFile` is beside the file, and a credential plugin
    of `client.authentication.k8s.io/v1` is run like one of v1beta1, told which by its environment.
    """
    user = config.user or User()
    if user.token_file:
        user = msgspec.structs.replace(user, token_file=str(config.abs_file(user.token_file)))
    if user.exec:
        version = user.exec.apiVersion
        info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
        given = NameValue("KUBERNETES_EXEC_INFO", msgspec.json.encode(info).decode())
        plugin = msgspec.structs.replace(
            user.exec,
            apiVersion=EXEC_V1BETA1 if version == EXEC_V1 else version,
            env=[*(user.exec.env or []), given],
        )
        user = msgspec.structs.replace(user, exec=plugin)
    return user


def in_cluster(service_account: str = SERVICE_ACCOUNT) -> bool:
    """Whether this process is in a pod that has a service account."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and Path(service_account, "token").is_file()
