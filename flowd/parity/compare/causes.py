"""Name the cause of a difference: one id of the list in docs/migration.md.

Rules are tried in order; the first that applies names the cause. Early rules look at what a proxy
refused before it matched, later ones at redirects, canaries, headers and paths, the last at matching.
"""

import re
from collections.abc import Callable

from flowd.parity.nginx.locate import find_location, find_server, server_name
from flowd.parity.nginx.servers import CATCH_ALL, EXACT, Configuration, Location, NginxServer
from flowd.parity.nginx.uri import BadTarget, Target, parse_target
from flowd.parity.outcome import Outcome, ParityRequest

UNEXPLAINED = "unexplained"

_FIRST = (
    *("uri-size", "header-size", "bad-escape", "above-root", "empty-host", "body-size"),
    *("controller-healthz", "controller-status", "location-denied"),
)
_AFTER = {
    "conversion-failed": "conversion-failed",
    "fragment": "fragment",
    "path_normalization_failed": "escaped-slash",
    "unexpected_underscore": "header-underscore",
    "default-certificate": "default-certificate",
}
_CANARY = ("canary-no-endpoints", "main-no-endpoints", "default-backend-annotation")
_REDIRECTS = ("force-ssl-redirect", "tls-wildcard-redirect", "tls-default-cert-redirect")
_LOOKAROUND = re.compile(r"\(\?[=!<]|\\[1-9]|\(\?>")


class Case:
    """A difference with what the rules look at."""

    def __init__(
        self,
        configuration: Configuration,
        request: ParityRequest,
        before: Outcome,
        after: Outcome,
        differs: list[str],
    ) -> None:
        self.configuration, self.request = configuration, request
        self.before, self.after, self.differs = before, after, differs
        self.host = server_name(request.host or "")
        self.server: NginxServer = find_server(configuration, self.host)
        self.target: Target | None = None
        self.location: Location | None = None
        try:
            self.target = parse_target(request.path)
        except BadTarget:
            return
        if not self.server.redirect_to:
            self.location = find_location(self.server, self.target).location

    def only(self, prefix: str) -> bool:
        """True if all that differs begins so."""
        return all(part.startswith(prefix) for part in self.differs)

    @property
    def path(self) -> str:
        """Path of the target as it was sent."""
        return self.request.path.partition("#")[0].partition("?")[0]


def cause(case: Case) -> str:
    """The cause id of a difference."""
    for rule in _RULES:
        if found := rule(case):
            return found
    return UNEXPLAINED


def _evidence(case: Case) -> str:
    """What the access log shows and the objects alone do not."""
    return case.before.seen_cause


def _refusals(case: Case) -> str:
    for note in case.after.notes:
        if note in _AFTER:
            return _AFTER[note]
    return next((note for note in case.before.notes if note in _FIRST), "")


def _alone_headers(case: Case) -> str:
    """Only headers differ, or CORS answers."""
    asks = case.location is not None and case.location.annotations.cors
    preflight = asks and case.request.method == "OPTIONS"
    if preflight or (asks and any("access-control" in part for part in case.differs)):
        return "cors"
    if "auth" in case.before.notes:
        return "auth"
    if case.only("response-headers:"):
        if any("strict-transport-security" in part for part in case.differs):
            return "hsts"
        return "session-affinity" if "session-affinity" in case.before.notes else ""
    if case.only("request-headers:"):
        names = ("header-underscore", "header-name", "forwarded-headers")
        return next((note for note in case.before.notes if note in names), "")
    return ""


def _ignored(case: Case) -> str:
    """An Ingress that would have taken the request is not stored, or one of its values was refused."""
    if case.configuration.ignored and case.before.status == 404 and case.after.status != 404:
        reasons = set(case.configuration.ignored.values())
        return "snippet" if reasons == {"snippet"} else "ingress-ignored"
    dropped = any(
        location.annotations.dropped for location in case.server.locations if location.ingress
    )
    return "annotation-invalid" if dropped and "status" in case.differs else ""


def _canary(case: Case) -> str:
    notes = case.before.notes
    if found := next((note for note in notes if note in _CANARY), ""):
        return found
    upstream = case.location.upstream if case.location else None
    if not upstream or not upstream.canary or not {"backend", "shares"} & set(case.differs):
        return ""
    canary = upstream.canary
    if canary.header_pattern and case.request.header(canary.header) is not None:
        return "canary-header-pattern"
    if canary.cookie and canary.cookie in (case.request.header("cookie") or ""):
        return "canary-cookie"
    if canary.total < 100 and case.after.shares:
        return "canary-weight-total"
    if upstream.canary_backend in case.after.backend or case.after.shares:
        return "canary-weight-total"
    return "canary-leak"


def _redirect(case: Case) -> str:
    before, after, notes = case.before, case.after, case.before.notes
    if case.server.redirect_to:
        return "redirect-code"
    if before.location and after.location:
        elsewhere = not before.location.startswith(f"https://{case.host}")
        if "redirect-before-tls" in notes and after.location.startswith("https://") and elsewhere:
            return "redirect-before-tls"
        for note in ("ssl-redirect-slash", "redirect-query", "trailing-slash-redirect"):
            if note in notes and "location-header" in case.differs:
                return note
        if "location-header" in case.differs and (found := _normalization(case)):
            return found
        return "redirect-code"
    if before.location:
        causes = (*_REDIRECTS, "trailing-slash-redirect", "redirect-before-tls")
        return next((note for note in notes if note in causes), "")
    if after.location.startswith("https://") and case.request.header("x-forwarded-proto"):
        return "forwarded-proto"
    return ""


def _normalization(case: Case) -> str:
    path = case.path.lower()
    if re.search(r"(^|/)(\.|%2e){1,2}(/|$)", path):
        return "dot-segments"
    if "//" in path:
        return "merge-slashes"
    return ""


def _path(case: Case) -> str:
    """The backend receives another path."""
    if "path" not in case.differs:
        return ""
    before, after, location = case.before, case.after, case.location
    if location and location.annotations.rewrite_target:
        if "$" in after.upstream_path or (
            "rewrite-capture" in before.notes and after.upstream_path in ("/", "")
        ):
            return "rewrite-capture"
        if "rewrite-capture" not in before.notes:
            return "rewrite-equals-path"
        if before.upstream_path.replace("%", "") != after.upstream_path and "%" in case.path:
            return "encoding-after-rewrite"
        return "rewrite-capture"
    return _normalization(case) or ("percent-decoding" if "%" in case.path else "")


def _host(case: Case) -> str:
    """Another set of hosts: aliases, wildcards, catch-all."""
    configuration = case.configuration
    if case.host in case.server.aliases:
        return "server-alias"
    if case.server.host == CATCH_ALL and case.host:
        labels = [host for host in configuration.servers if host.startswith("*.")]
        inside = [host for host in labels if case.host.endswith(host[1:])]
        if inside and case.before.status == 404:
            depth = case.host.removesuffix(inside[0][1:]).count(".")
            return "wildcard-depth" if depth else "wildcard-charset"
        if case.location and case.location.upstream:
            return "catch-all"
    known = case.location is None or case.location.upstream is None
    if not known or case.before.status != 404 or case.after.status == 404:
        return ""
    if case.configuration.servers[CATCH_ALL].locations[-1].upstream:
        return "catch-all"
    suffix = "*." + case.host.partition(".")[2]
    if suffix in configuration.servers and suffix != case.server.host:
        return "wildcard-fallthrough"
    if any(entry.upstream for entry in configuration.servers[CATCH_ALL].locations):
        return "hostless-fallthrough"
    return "default-backend-order"


def _matching(case: Case) -> str:
    """Another rule takes the request."""
    location, server = case.location, case.server
    if location is None or case.target is None:
        return ""
    later = case.configuration.later.get(server.host, ())
    if any(entry.path == location.rule_path for entry in later) and "backend" in case.differs:
        return "duplicate-path"
    if "upstream-vhost" in case.before.notes:
        return "upstream-vhost"
    if not server.regex:
        return ""
    if _LOOKAROUND.search(location.path):
        return "regex-pcre-only"
    if _top_level_alternation(location.path):
        return "regex-alternation"
    own = location.annotations.use_regex or location.annotations.rewrite_target
    if not own and not _plain_match(location, case.target):
        return "regex-host"
    if case.after.status == 404:
        exact = re.match(location.path, case.target.path.decode("utf-8", "replace"))
        return "regex-full-match" if exact else "regex-case"
    return "precedence" if "backend" in case.differs else ""


def _plain_match(location: Location, target: Target) -> bool:
    """Whether the rule's path would match if the host had no regular expressions."""
    path, rule = target.path.decode("utf-8", "replace"), location.rule_path
    if location.path_type == EXACT and not location.path.endswith("/"):
        return path == rule
    return path == rule or path.startswith(rule.rstrip("/") + "/")


def _top_level_alternation(path: str) -> bool:
    depth = 0
    for char in path:
        depth += (char in "([") - (char in ")]")
        if char == "|" and depth == 0:
            return True
    return False


def _rest(case: Case) -> str:
    for note in ("backend-protocol", "missing-service", "snippet", *_REDIRECTS):
        if note in case.before.notes:
            return note
    return ""


_RULES: tuple[Callable[[Case], str], ...] = (
    _evidence,
    _refusals,
    _alone_headers,
    _ignored,
    _canary,
    _redirect,
    _path,
    _host,
    _matching,
    _rest,
)
