"""Read the annotations of an Ingress as ingress-nginx does: values, refused values, denied locations.

Source: kubernetes/ingress-nginx controller-v1.15.1, internal/ingress/annotations.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

PREFIX = "nginx.ingress.kubernetes.io/"

_TRUE = frozenset(("true", "1", "t", "T", "TRUE", "True"))
_FALSE = frozenset(("false", "0", "f", "F", "FALSE", "False"))
_REWRITE = re.compile(r"[A-Za-z0-9\-._~/:$]*")
_URL = re.compile(r"[A-Za-z0-9\-._~:/?#@!&'()*+,;=%\[\]]*")
_SIZE = re.compile(r"(?i)(\d+)([bkmg]?)")
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

SNIPPETS = (
    "configuration-snippet",
    "server-snippet",
    "auth-snippet",
    "modsecurity-snippet",
    "stream-snippet",
)
"""Annotations of the risk level Critical: above the default limit High the Ingress is ignored."""

UNKNOWABLE = {
    "custom-headers": "custom-headers",
    "custom-http-errors": "custom-errors",
    "enable-modsecurity": "firewall",
    "enable-owasp-core-rules": "firewall",
    "mirror-target": "mirror",
    "proxy-redirect-from": "proxy-redirect",
    "proxy-redirect-to": "proxy-redirect",
    "satisfy": "auth",
    "ssl-passthrough": "ssl-passthrough",
    "auth-tls-secret": "client-certificate",
    "auth-tls-verify-client": "client-certificate",
}
"""Annotations whose effect on an outcome is not simulated: cause id by name."""

_READ = frozenset(
    (
        *("affinity", "app-root", "allowlist-source-range", "backend-protocol", "canary"),
        *("default-backend", "denylist-source-range", "enable-cors", "force-ssl-redirect"),
        *("from-to-www-redirect", "permanent-redirect", "permanent-redirect-code"),
        *("preserve-trailing-slash", "rewrite-target", "server-alias", "service-upstream"),
        *("ssl-redirect", "temporal-redirect", "temporal-redirect-code", "upstream-vhost"),
        *("use-regex", "whitelist-source-range", "x-forwarded-prefix", "global-rate-limit"),
        *("enable-access-log", "enable-rewrite-log", "load-balance", "upstream-hash-by"),
        *("client-body-buffer-size", "connection-proxy-header", "http2-push-preload"),
    )
)
_READ_FAMILIES = (
    *("affinity-", "auth-", "canary-", "cors-", "limit-", "proxy-", "session-cookie-"),
    *("upstream-hash-by-",),
)
"""Annotations that are read, or that change no part of an outcome: buffers, logs, timeouts."""

LIMITS = ("limit-rps", "limit-rpm", "limit-connections", "limit-rate", "global-rate-limit")


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """What the controller's ConfigMap and flags set, as far as outcomes depend on it."""

    allow_snippets: bool = False
    critical_risk: bool = False
    use_forwarded_headers: bool = False
    body_bytes: int = 1 << 20
    ssl_redirect: bool = True
    hsts: bool = True
    redirect_code: int = 308
    no_tls_redirect: tuple[str, ...] = ("/.well-known/acme-challenge",)

    @classmethod
    def from_configmap(cls, data: Mapping[str, str]) -> "ControllerSettings":
        """Settings from the data of the controller's ConfigMap; unknown keys are ignored."""
        return cls(
            allow_snippets=data.get("allow-snippet-annotations") in _TRUE,
            critical_risk=data.get("annotations-risk-level", "High") == "Critical",
            use_forwarded_headers=data.get("use-forwarded-headers") in _TRUE,
            body_bytes=size(data.get("proxy-body-size", "1m"), 1 << 20),
            ssl_redirect=data.get("ssl-redirect", "true") in _TRUE,
            hsts=data.get("hsts", "true") in _TRUE,
            redirect_code=int(data.get("http-redirect-code", "308")),
        )


@dataclass(slots=True)
class Canary:
    """Annotations of a canary Ingress."""

    weight: int = 0
    total: int = 100
    header: str = ""
    header_value: str = ""
    header_pattern: str = ""
    cookie: str = ""


@dataclass(slots=True)
class Annotations:
    """What an Ingress asks for.

    Attributes:
        ignored: why the controller does not store the Ingress; "" when it does.
        denied: why its locations answer 503; "" when they do not.
        unknown: cause ids of annotations whose effect is not simulated.
        dropped: names of annotations whose value was refused, so that they act as absent.
    """

    ignored: str = ""
    denied: str = ""
    unknown: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    rewrite_target: str = ""
    use_regex: bool = False
    app_root: str = ""
    ssl_redirect: bool = True
    force_ssl_redirect: bool = False
    preserve_trailing_slash: bool = False
    permanent_redirect: str = ""
    permanent_code: int = 301
    temporal_redirect: str = ""
    temporal_code: int = 302
    from_to_www: bool = False
    aliases: tuple[str, ...] = ()
    body_bytes: int | None = None
    upstream_host: str = ""
    cors: bool = False
    cors_origins: tuple[str, ...] = ("*",)
    auth_type: str = ""
    auth_url: str = ""
    auth_signin: str = ""
    auth_headers: tuple[str, ...] = ()
    affinity: str = ""
    backend_protocol: str = "HTTP"
    default_backend: str = ""
    read_timeout: int | None = None
    allow_list: str = ""
    deny_list: str = ""
    snippets: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    canary: Canary | None = None
    raw: Mapping[str, str] = field(default_factory=dict[str, str])


def size(text: str, default: int) -> int:
    """Bytes of an nginx size (`8m`); the default for a malformed one."""
    found = _SIZE.fullmatch(text.strip())
    return int(found[1]) * _UNITS[found[2].lower()] if found else default


def read_annotations(annotations: Mapping[str, str], settings: ControllerSettings) -> Annotations:
    """Read the annotations of one Ingress."""
    raw = {
        key.removeprefix(PREFIX): value
        for key, value in annotations.items()
        if key.startswith(PREFIX)
    }
    reader = _Reader(raw)
    read = Annotations(raw=raw)
    read.snippets = tuple(name for name in SNIPPETS if raw.get(name))
    if read.snippets and not settings.critical_risk:
        read.ignored = "snippet"
    elif not settings.allow_snippets:
        read.snippets = ()
    _redirects(read, reader, settings)
    read.rewrite_target = reader.text("rewrite-target", _REWRITE)
    read.use_regex = reader.boolean("use-regex")
    read.app_root = reader.text("app-root", _REWRITE)
    if read.app_root and not read.app_root.startswith("/"):
        read.app_root = ""
    read.from_to_www = reader.boolean("from-to-www-redirect")
    read.aliases = reader.list("server-alias")
    if (body := raw.get("proxy-body-size")) is not None:
        read.body_bytes = size(body, settings.body_bytes)
    read.upstream_host = reader.text("upstream-vhost", re.compile(r"[A-Za-z0-9\-._~:]*"))
    read.cors = reader.boolean("enable-cors")
    read.cors_origins = reader.list("cors-allow-origin") or ("*",)
    _auth(read, raw)
    read.affinity = "cookie" if raw.get("affinity") == "cookie" else ""
    read.backend_protocol = raw.get("backend-protocol", "HTTP").upper()
    read.default_backend = raw.get("default-backend", "")
    read.read_timeout = reader.number("proxy-read-timeout", None)
    read.allow_list = raw.get("whitelist-source-range", raw.get("allowlist-source-range", ""))
    read.deny_list = raw.get("denylist-source-range", "")
    read.limits = tuple(name for name in LIMITS if raw.get(name))
    if reader.boolean("canary"):
        read.canary = Canary(
            weight=reader.number("canary-weight", 0) or 0,
            total=reader.number("canary-weight-total", 100) or 100,
            header=raw.get("canary-by-header", ""),
            header_value=raw.get("canary-by-header-value", ""),
            header_pattern=raw.get("canary-by-header-pattern", ""),
            cookie=raw.get("canary-by-cookie", ""),
        )
    read.unknown = tuple(dict.fromkeys(filter(None, map(_unknown, raw))))
    read.dropped = tuple(reader.dropped)
    return read


def _unknown(name: str) -> str:
    """Cause id of an annotation whose effect is not simulated; "" for one that is."""
    if name in UNKNOWABLE:
        return UNKNOWABLE[name]
    known = name in _READ or name in SNIPPETS or name.startswith(_READ_FAMILIES)
    return "" if known else "annotation-unread"


def _redirects(read: Annotations, reader: "_Reader", settings: ControllerSettings) -> None:
    read.ssl_redirect = reader.boolean("ssl-redirect", settings.ssl_redirect)
    read.force_ssl_redirect = reader.boolean("force-ssl-redirect")
    read.preserve_trailing_slash = reader.boolean("preserve-trailing-slash")
    for name in ("temporal-redirect", "permanent-redirect"):
        value = reader.raw.get(name, "")
        if value and not _URL.fullmatch(value):
            read.ignored = read.ignored or "annotation-invalid"
    read.temporal_redirect = reader.raw.get("temporal-redirect", "")
    read.permanent_redirect = reader.raw.get("permanent-redirect", "")
    code = reader.number("permanent-redirect-code", 301) or 301
    read.permanent_code = code if 300 <= code <= 308 else 301
    code = reader.number("temporal-redirect-code", 302) or 302
    read.temporal_code = code if 300 <= code <= 307 else 302


def _auth(read: Annotations, raw: Mapping[str, str]) -> None:
    read.auth_type = raw.get("auth-type", "")
    read.auth_url = raw.get("auth-url", "")
    read.auth_signin = raw.get("auth-signin", "")
    read.auth_headers = tuple(
        name.strip() for name in raw.get("auth-response-headers", "").split(",") if name.strip()
    )
    if read.auth_url and not re.match(r"https?://[^/]+", read.auth_url):
        read.denied = "location-denied"
    if read.auth_type and not raw.get("auth-secret"):
        read.denied = "location-denied"


class _Reader:
    """Typed access to raw annotations; records the names of refused values."""

    def __init__(self, raw: Mapping[str, str]) -> None:
        self.raw = raw
        self.dropped: list[str] = []

    def boolean(self, name: str, default: bool = False) -> bool:
        value = self.raw.get(name)
        if value is None:
            return default
        if value not in _TRUE | _FALSE:
            self.dropped.append(name)
            return default
        return value in _TRUE

    def number(self, name: str, default: int | None) -> int | None:
        value = self.raw.get(name)
        if value is None:
            return default
        if not re.fullmatch(r"-?\d{1,9}", value):
            self.dropped.append(name)
            return default
        return int(value)

    def text(self, name: str, allowed: re.Pattern[str]) -> str:
        value = self.raw.get(name, "")
        if value and not allowed.fullmatch(value):
            self.dropped.append(name)
            return ""
        return value

    def list(self, name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.raw.get(name, "").split(",") if part.strip())
