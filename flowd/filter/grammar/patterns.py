"""Parse patterns in Hubble's filter values: RE2, name prefix, glob, CIDR, port, status range, URL.

Every function raises FilterError for a malformed value.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from flowd.filter.grammar.errors import FilterError

Predicate: TypeAlias = Callable[[str], bool]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]*:")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_REGEX_BYTES = 1 << 20


def regex(pattern: str, field: str) -> Predicate:
    """Compile an unanchored RE2 search (https://github.com/google/re2/wiki/Syntax).

    Raises:
        FilterError: RE2 rejects the pattern, or google-re2 is not installed.
    """
    try:
        import re2
    except ImportError:
        raise FilterError(f"{field}: regular expressions need google-re2") from None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_BYTES
    try:
        compiled = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(error)
        raise FilterError(
            f"{field}: bad regular expression {shortened(pattern)}: {text[:200]}"
        ) from None

    def search(text: str) -> bool:
        return compiled.search(text.encode(errors="replace").decode()) is not None

    return search


def shortened(value: str, most: int = 80) -> str:
    """A value for an error message: quoted, cut to `most` characters."""
    return repr(value if len(value) <= most else f"{value[:most]}...")


def name_prefix(value: str, field: str) -> Callable[[str, str], bool]:
    """Parse `namespace/prefix`, over (namespace, name); a bare prefix is in namespace `default`."""
    if not value:
        raise FilterError(f"{field}: empty value; use namespace/name, namespace/ or /name")
    namespace, slash, prefix = value.partition("/")
    if not slash:
        namespace, prefix = "default", value

    def matches(own: str, name: str) -> bool:
        if not own and not name:
            return False
        return (not namespace or own == namespace) and name.startswith(prefix)

    return matches


def glob(pattern: str, field: str) -> Predicate:
    """Parse a glob: `*` matches letters, digits, `-` and `.`; case is ignored."""
    text = pattern.lower().removesuffix(".")
    if not text or not re.fullmatch(r"[-a-z0-9_.*]+", text):
        raise FilterError(f"{field}: bad pattern {pattern!r}; letters, digits, - _ . and * only")
    body = "[-.0-9a-z]*".join(re.escape(part) for part in re.split(r"\*+", text))
    compiled = re.compile(body)
    return lambda name: compiled.fullmatch(name.lower()) is not None


def node_glob(pattern: str) -> Callable[[str, str], bool]:
    """Parse `node` or `cluster/node` globs, over (cluster, node); an empty part matches any."""
    parts = pattern.split("/")
    if len(parts) > 2:
        raise FilterError(f"node_name: too many slashes in {pattern!r}; use cluster/node")
    if not pattern:
        raise FilterError("node_name: empty value; use node or cluster/node")
    tests = [glob(part, "node_name") if part else None for part in parts]

    def matches(cluster: str, node: str) -> bool:
        names = (cluster, node)[-len(tests) :]
        return all(test is None or test(name) for test, name in zip(tests, names, strict=True))

    return matches


def network(value: str, field: str) -> Network:
    """Parse a CIDR, or an address as a network of one address."""
    _, slash, length = value.partition("/")
    try:
        if "%" in value or (slash and not re.fullmatch("[0-9]{1,3}", length)):
            raise ValueError(value)
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise FilterError(f"{field}: {value!r} is neither an IP address nor a CIDR") from None


def port(value: str, field: str) -> int:
    """Parse a decimal port number."""
    if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) > 65535:
        raise FilterError(f"{field}: {value!r} is not a port number (0-65535)")
    return int(value)


def status_range(value: str) -> tuple[int, int]:
    """Parse `404`, `40+` or `4+` to the first and last HTTP status."""
    match = re.fullmatch(r"([1-5])(?:([0-9])([0-9])|([0-9])?\+)", value)
    if not match:
        raise FilterError(f"http_status_code: {value!r} is not a status code or prefix (404, 4+)")
    digits = value.removesuffix("+")
    return int(digits.ljust(3, "0")), int(digits.ljust(3, "9"))


def url_path(url: str) -> str | None:
    """The percent-decoded path of an absolute or rooted URL; None for other text."""
    if _SCHEME.match(url):
        rest = url.partition(":")[2]
        if rest.startswith("//"):
            at = min((rest.find(mark, 2) for mark in "/?" if mark in rest[2:]), default=len(rest))
            rest = rest[at:]
        elif not rest.startswith("/"):
            return ""
    elif url.startswith("/"):
        rest = url
    else:
        return None
    path = rest.partition("?")[0]
    if "%" not in path:
        return path
    if _BAD_ESCAPE.search(path):
        return None
    return unquote_to_bytes(path).decode(errors="replace")
