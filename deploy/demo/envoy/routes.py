"""Translate HTTPRoute rules into Envoy routes, with Envoy Gateway's names and order.

Facts follow envoyproxy/gateway 1.9, `internal/xds/translator/route.go` and
`internal/gatewayapi/sort.go`.
"""

from dataclasses import dataclass
from typing import Any

from demo.cluster.errors import DemoError
from demo.cluster.objects import Object
from demo.envoy.access_log import Config

DEFAULT_PATH = {"type": "PathPrefix", "value": "/"}
PATH_RANK = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """One match of one rule, which becomes one Envoy route; sorted by `order`."""

    route: Object
    rule: int
    index: int
    match: Object

    @property
    def path(self) -> Object:
        found: Object = self.match.get("path", DEFAULT_PATH)
        return found

    @property
    def headers(self) -> list[Object]:
        """Header matches; the method counts as one, as in Envoy."""
        method = self.match.get("method")
        found: list[Object] = self.match.get("headers", [])
        return found + ([{"name": ":method", "value": method}] if method else [])

    def order(self) -> tuple[int, ...]:
        """Sort key: exact, regex, prefix; longer path; more headers, exact ones, query parameters."""
        exact = [h for h in self.headers if h.get("type", "Exact") == "Exact"]
        return (
            PATH_RANK[self.path.get("type", "PathPrefix")],
            -len(self.path["value"]),
            -len(self.headers),
            -len(exact),
            -len(self.match.get("queryParams", [])),
        )


def route_key(route: Object) -> str:
    """`<kind>/<namespace>/<name>`, the prefix of every name made from a route."""
    meta = route["metadata"]
    return f"{route['kind'].lower()}/{meta['namespace']}/{meta['name']}"


def cluster_name(route: Object, rule: int) -> str:
    return f"{route_key(route)}/rule/{rule}"


def underscored(host: str) -> str:
    return host.replace(".", "_")


def metadata(kind: str, meta: Object, section: str = "") -> Config:
    """The `envoy-gateway` metadata that names a Kubernetes object."""
    resource = {"kind": kind, "name": meta["name"], "namespace": meta["namespace"]}
    if section:
        resource["sectionName"] = section
    return {"filter_metadata": {"envoy-gateway": {"resources": [resource]}}}


def matches(routes: list[Object]) -> list[RuleMatch]:
    """Matches of the routes, in the order in which Envoy tries them."""
    found: list[RuleMatch] = []
    for route in routes:
        for i, rule in enumerate(route["spec"]["rules"]):
            wanted: list[Object] = rule.get("matches") or [{}]  # default of the CRD
            found += [RuleMatch(route, i, j, match) for j, match in enumerate(wanted)]
    return sorted(found, key=RuleMatch.order)


def match_headers(routes: list[Object]) -> set[str]:
    """Names of the headers on which the routes match, in lower case."""
    names = {header["name"].lower() for match in matches(routes) for header in match.headers}
    return names - {":method"}


def envoy_route(match: RuleMatch, host: str, endpoints: bool) -> Config:
    """The Envoy route of a match under a hostname.

    Args:
        match: what to match.
        host: hostname of the virtual host.
        endpoints: whether any backend of the rule has an endpoint; without one Envoy answers 503.

    Raises:
        DemoError: the rule has a filter that the demo does not translate.
    """
    rule = match.route["spec"]["rules"][match.rule]
    cluster = cluster_name(match.route, match.rule)
    config: Config = {
        "name": f"{cluster}/match/{match.index}/{underscored(host)}",
        "match": _matcher(match),
        "metadata": metadata(match.route["kind"], match.route["metadata"], rule.get("name", "")),
    }
    redirect = None
    for item in rule.get("filters", []):
        match item["type"]:
            case "RequestHeaderModifier":
                config |= _request_headers(item["requestHeaderModifier"])
            case "RequestRedirect":
                redirect = _redirect(item["requestRedirect"])
            case other:
                raise DemoError(f"{cluster}: the demo has no filter {other}")
    if redirect is not None:
        return config | {"redirect": redirect}
    if not endpoints:
        return config | {"direct_response": {"status": 503}}
    action: Config = {"cluster": cluster}
    if limit := rule.get("timeouts", {}).get("request"):
        action["timeout"] = f"{milliseconds(limit) / 1000}s"
    return config | {"route": action}


def milliseconds(duration: str) -> int:
    """Milliseconds of a Gateway API duration (GEP-2257) with one unit.

    Raises:
        DemoError: the text is not a number with `ms`, `s` or `m`.
    """
    for unit, factor in (("ms", 1), ("s", 1000), ("m", 60_000)):
        number = duration.removesuffix(unit)
        if number != duration and number.isdecimal():
            return int(number) * factor
    raise DemoError(f"the demo does not read the duration {duration}")


def _matcher(match: RuleMatch) -> Config:
    value, kind = match.path["value"], match.path.get("type", "PathPrefix")
    config: Config
    if kind == "Exact":
        config = {"path": value}
    elif kind == "RegularExpression":
        config = {"safe_regex": {"regex": value}}
    elif value == "/":
        config = {"prefix": "/"}
    else:
        config = {"path_separated_prefix": value.rstrip("/")}
    if match.headers:
        config["headers"] = [
            {"name": header["name"], "string_match": _string(header)} for header in match.headers
        ]
    if queries := match.match.get("queryParams"):
        config["query_parameters"] = [
            {"name": query["name"], "string_match": _string(query)} for query in queries
        ]
    return config


def _string(match: Object) -> Config:
    if match.get("type", "Exact") == "Exact":
        return {"exact": match["value"]}
    return {"safe_regex": {"regex": match["value"]}}


def _request_headers(modifier: Object) -> Config:
    changes = [
        {"header": {"key": header["name"], "value": header["value"]}, "append_action": action}
        for field, action in (
            ("set", "OVERWRITE_IF_EXISTS_OR_ADD"),
            ("add", "APPEND_IF_EXISTS_OR_ADD"),
        )
        for header in modifier.get(field, [])
    ]
    config: Config = {"request_headers_to_add": changes}
    if removed := modifier.get("remove"):
        config["request_headers_to_remove"] = removed
    return config


def _redirect(wanted: Object) -> Config:
    codes: dict[int, str] = {
        301: "MOVED_PERMANENTLY",
        302: "FOUND",
        303: "SEE_OTHER",
        307: "TEMPORARY_REDIRECT",
        308: "PERMANENT_REDIRECT",
    }
    fields: dict[str, Any] = {
        "scheme_redirect": wanted.get("scheme"),
        "host_redirect": wanted.get("hostname"),
        "port_redirect": wanted.get("port"),
        "response_code": codes[wanted.get("statusCode", 302)],
    }
    return {key: value for key, value in fields.items() if value}
