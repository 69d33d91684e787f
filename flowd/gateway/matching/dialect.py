"""Differences between Gateway API implementations in match precedence and path handling."""

from dataclasses import dataclass

EXACT, PREFIX, REGEX = "Exact", "PathPrefix", "RegularExpression"


@dataclass(frozen=True, slots=True)
class Dialect:
    """Match precedence of one implementation, and its path normalization before matching.

    Attributes:
        path_order: path match types in order of precedence, highest first.
        method_is_header: a method match counts as a header match, and exact headers beat regex.
        resolve_dots: `.` and `..` segments are resolved (RFC 3986, section 5.2.4).
        merge_slashes: runs of `/` count as one.
        redirect_escaped_slashes: `%2F` and `%5C` are answered by a redirect to the plain form.
        reject_underscores: a request with `_` in a header name is refused.
        container_port_offset: added to a listener port below 1024 to get the proxy's own port.
        merges_equal: equal matches of several routes are merged, with the backends of all.
        one_kind_a_host: only the older of an HTTPRoute and a GRPCRoute on one hostname is accepted.
        ports_share_hosts: all listeners of a Gateway without TLS share their virtual hosts,
            across ports.
        extensions: API groups of supported extension filters; rules with others answer 500.
    """

    name: str
    path_order: tuple[str, str, str]
    method_is_header: bool = False
    resolve_dots: bool = True
    merge_slashes: bool = False
    redirect_escaped_slashes: bool = False
    reject_underscores: bool = False
    container_port_offset: int = 0
    merges_equal: bool = False
    one_kind_a_host: bool = False
    ports_share_hosts: bool = False
    extensions: tuple[str, ...] = ()


_REGEX_FIRST = (EXACT, REGEX, PREFIX)
_REGEX_LAST = (EXACT, PREFIX, REGEX)

DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("spec", _REGEX_LAST, resolve_dots=False, one_kind_a_host=True),
        Dialect(
            "eg",
            _REGEX_FIRST,
            method_is_header=True,
            merge_slashes=True,
            redirect_escaped_slashes=True,
            reject_underscores=True,
            container_port_offset=10000,
            extensions=("gateway.envoyproxy.io",),
        ),
        Dialect("cilium", _REGEX_FIRST, merges_equal=True, ports_share_hosts=True),
        Dialect("istio", _REGEX_LAST),
        Dialect("contour", _REGEX_FIRST, merge_slashes=True),
        Dialect("kgateway", _REGEX_FIRST, extensions=("gateway.kgateway.dev",)),
    )
}
"""Dialects by the values of `--dialect`; `eg` is Envoy Gateway."""

_ESCAPED_SLASHES = ("%2f", "%5c")


def split_path(path: str) -> tuple[str, str]:
    """Split a request target into path and query; the fragment is dropped."""
    path, _, query = path.partition("#")[0].partition("?")
    return path, query


def unescaped(path: str) -> str | None:
    """Decode escaped slashes of a path; None when the path has none."""
    lower = path.lower()
    if not any(escape in lower for escape in _ESCAPED_SLASHES):
        return None
    for escape, plain in (("%2F", "/"), ("%2f", "/"), ("%5C", "\\"), ("%5c", "\\")):
        path = path.replace(escape, plain)
    return path.replace("\\", "/")


def normalize_path(path: str, dialect: Dialect) -> str:
    """Normalize a path (without query) as the proxies of the dialect do before matching."""
    if dialect.resolve_dots and "/." in path:
        path = _resolve_dots(path)
    if dialect.merge_slashes:
        while "//" in path:
            path = path.replace("//", "/")
    return path


def _resolve_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
