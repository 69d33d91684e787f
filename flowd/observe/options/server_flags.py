"""Server flags of the client commands: address, timeouts, TLS, port-forward, configuration file."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from flowd.observe.options.click_options import SERVER, env_vars, option
from flowd.observe.options.config_file import apply_config_file
from flowd.observe.options.times import parse_duration

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """A Go duration such as `5s` or `1m30s`, or a number of seconds; converts to seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return float(value)
        except ValueError:
            pass
        try:
            return parse_duration(value) / 1e9
        except ValueError as error:
            return self.fail(str(error), param, ctx)


_SERVER = (
    ("--server", {"metavar": "ADDRESS", "envvar": env_vars("SERVER"),
     "help": "`host:port`, `tls://host:port` or "
     "`unix:///path`; else FLOWD_SERVER, HUBBLE_SERVER, 127.0.0.1:4245."}),
    ("--timeout", {"type": Duration(), "default": "5s", "show_default": True,
     "envvar": env_vars("TIMEOUT"), "help": "How long to wait for the server."}),
    ("--request-timeout", {"type": Duration(), "default": "12s", "show_default": True,
     "envvar": env_vars("REQUEST_TIMEOUT"), "help": "How long a single answer may take."}),
    ("--tls", {"is_flag": True, "envvar": env_vars("TLS"), "help": "Speak TLS."}),
    ("--tls-allow-insecure", {"is_flag": True, "envvar": env_vars("TLS_ALLOW_INSECURE"),
     "help": "Trust whatever certificate the server shows. Not recommended."}),
    ("--tls-ca-cert-files", {"multiple": True, "metavar": "FILE",
     "envvar": env_vars("TLS_CA_CERT_FILES"), "help": "Authorities to trust (PEM)."}),
    ("--tls-client-cert-file", {"default": "", "metavar": "FILE",
     "envvar": env_vars("TLS_CLIENT_CERT_FILE"), "help": "Our own certificate (PEM)."}),
    ("--tls-client-key-file", {"default": "", "metavar": "FILE",
     "envvar": env_vars("TLS_CLIENT_KEY_FILE"), "help": "Its key (PEM)."}),
    ("--tls-server-name", {"default": "", "metavar": "NAME",
     "envvar": env_vars("TLS_SERVER_NAME"), "help": "Name in the server's certificate."}),
    ("--basic-auth-username", {"default": "", "metavar": "NAME",
     "envvar": env_vars("BASIC_AUTH_USERNAME"), "help": "Name for basic authentication."}),
    ("--basic-auth-password", {"default": "", "metavar": "TEXT",
     "envvar": env_vars("BASIC_AUTH_PASSWORD"), "help": "Password for basic authentication."}),
    ("--port-forward -P", {"is_flag": True, "envvar": env_vars("PORT_FORWARD"),
     "help": "Ask the relay of a cluster: kubectl forwards a local port to the Service "
     "`hubble-relay` while the command runs; --server is not used."}),
    ("--port-forward-port", {"type": click.IntRange(0, 65535), "default": 4245,
     "show_default": True, "metavar": "PORT", "envvar": env_vars("PORT_FORWARD_PORT"),
     "help": "With -P, the local port; 0 for any that is free."}),
    ("--kube-context", {"default": "", "metavar": "NAME", "envvar": env_vars("KUBE_CONTEXT"),
     "help": "With -P, kubectl's context."}),
    ("--kube-namespace", {"default": "kube-system", "show_default": True, "metavar": "NAME",
     "envvar": env_vars("KUBE_NAMESPACE"), "help": "With -P, the relay's namespace."}),
    ("--kubeconfig", {"default": "", "metavar": "FILE", "envvar": env_vars("KUBECONFIG"),
     "help": "With -P, kubectl's configuration."}),
    ("--config", {"default": "", "metavar": "FILE", "is_eager": True, "callback": apply_config_file,
     "expose_value": False, "envvar": "HUBBLE_CONFIG",
     "help": "YAML of flag names and values, in hubble's form; flags and variables go before."}),
    ("--debug -D", {"is_flag": True, "envvar": env_vars("DEBUG"),
     "help": "Tell whom is asked, and every change of the nodes behind a relay."}),
)  # fmt: skip


def server_options(function: F) -> F:
    """Decorate a command with the server flags, which `sources.connect.make_client` reads."""
    for name, attrs in reversed(_SERVER):
        function = option(SERVER, *name.split(), **attrs)(function)
    return function


def servers_options(function: F) -> F:
    """Decorate a command with `server_options` and a repeatable `--server`, for `make_clients`."""
    for name, attrs in reversed(_SERVER):
        more = {"multiple": True} if name == "--server" else {}
        function = option(SERVER, *name.split(), **attrs, **more)(function)
    return function
