"""Envoy configuration as Contour, Cilium and kgateway generate it from Gateway API objects.

Names, metadata and the order of routes follow each implementation; policies that do not appear in
logs are left out. Every route names its object and match in the metadata namespace `flowd.test`,
which only the truth log contains.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.envoy.envoy import Json, address

DATA = Path(__file__).parents[1] / "data" / "envoy"
DIALECTS = ("contour", "cilium", "kgateway")
_TYPE = "type.googleapis.com/envoy.extensions"
_ORDER = ("Exact", "RegularExpression", "PathPrefix")
"""All three try regular expressions before prefixes."""


def objects(*names: str) -> list[Json]:
    """The documents of manifests."""
    return [
        document
        for name in names
        for document in yaml.safe_load_all((DATA / name).read_text())
        if document
    ]


@dataclass(frozen=True)
class Names:
    """The naming scheme of one implementation."""

    dialect: str

    def cluster(self, gateway: str, ref: Json, namespace: str) -> str:
        """Name of a backendRef's cluster."""
        where, name, port = ref.get("namespace", namespace), ref["name"], ref["port"]
        if self.dialect == "cilium":
            return f"infra/cilium-gateway-{gateway}/{where}:{name}:{port}"
        if self.dialect == "kgateway":
            return f"kube_{where}_{name}_{port}"
        digest = hashlib.sha1(f"{where}{name}{port}".encode()).hexdigest()[:10]
        return f"{where}/{name}/{port}/{digest}"

    def listener(self, gateway: str, name: str, port: int) -> str:
        """Name of a listener; Cilium has one for each Gateway, here distinguished by port."""
        if self.dialect == "cilium":
            return f"infra/cilium-gateway-{gateway}/listener-{port}"
        return f"http-{port}" if self.dialect == "contour" else f"{gateway}~{name}"

    def vhost(self, gateway: str, listener: str, host: str) -> str:
        """Name of a virtual host."""
        if self.dialect == "cilium":
            return f"infra/cilium-gateway-{gateway}/{host}"
        slug = host.replace(".", "_").replace("*", "_")
        return f"{listener}~{slug}" if self.dialect == "kgateway" else host

    def route(self, vhost: str, order: int, truth: list[Any]) -> Json:
        """Name and metadata of a route, as the implementation sets them."""
        kind, namespace, name, rule, match = truth
        if self.dialect == "kgateway":
            key = f"{kind.lower()}-{name}-{namespace}-{rule}-{match}"
            return {"name": f"{vhost}-route-{order}-{key}-matcher-{match}"}
        return {}

    def metadata(self, truth: list[Any]) -> Json:
        """Metadata of a route, without the test's own."""
        kind, namespace, name, *_ = truth
        if self.dialect != "contour":
            return {}
        said = {"kind": kind, "namespace": namespace, "name": name}
        return {
            "envoy.access_loggers.file": {
                f"io.projectcontour.{key}": text for key, text in said.items()
            }
        }


def truth_text(truth: list[Any]) -> str:
    return "/".join(map(str, truth))


def virtual_hosts(names: Names, gateway: str, listener: str, documents: list[Json]) -> list[Json]:
    """Virtual hosts of a listener, with the matches in the implementation's order."""
    by_host: dict[str, list[tuple[Any, ...]]] = {}
    for document in documents:
        if document["kind"] not in ("HTTPRoute", "GRPCRoute"):
            continue
        spec = document["spec"]
        parents: list[tuple[str, str]] = [
            (ref["name"], ref.get("sectionName")) for ref in spec["parentRefs"]
        ]
        if (gateway, listener) in parents:
            for host in spec.get("hostnames", ["*"]):
                by_host.setdefault(host, []).extend(_matches(document))
    hosts: list[Json] = []
    for host, found in by_host.items():
        vhost = names.vhost(gateway, listener, host)
        found.sort(key=lambda entry: entry[0])
        routes = [
            _route(names, gateway, vhost, order, *entry[1:]) for order, entry in enumerate(found)
        ]
        domains = [host] if host == "*" else [host, f"{host}:*"]
        hosts.append({"name": vhost, "domains": domains, "routes": routes})
    return hosts


def _matches(document: Json) -> Iterator[tuple[Any, ...]]:
    """(sort key, object, rule, match, truth) of every match."""
    meta = document["metadata"]
    for index, rule in enumerate(document["spec"]["rules"]):
        matches: list[Json] = rule.get("matches") or [{}]
        for number, match in enumerate(matches):
            match = _as_http(match) if document["kind"] == "GRPCRoute" else match
            path = match.get("path", {"type": "PathPrefix", "value": "/"})
            rank = (
                _ORDER.index(path["type"]),
                -len(path["value"]),
                "method" not in match,
                -len(match.get("headers", [])),
                -len(match.get("queryParams", [])),
                meta["namespace"],
                meta["name"],
                index,
                number,
            )
            truth = [document["kind"], meta["namespace"], meta["name"], index, number]
            yield rank, rule, match | {"path": path}, truth


def _as_http(match: Json) -> Json:
    method = match["method"]
    value = f"/{method['service']}/{method.get('method', '')}"
    kind = "Exact" if "method" in method else "PathPrefix"
    return {"path": {"type": kind, "value": value.rstrip("/")}, "headers": match.get("headers", [])}


def _route(
    names: Names, gateway: str, vhost: str, order: int, rule: Json, match: Json, truth: list[Any]
) -> Json:
    metadata = names.metadata(truth) | {"flowd.test": {"truth": truth_text(truth)}}
    found = names.route(vhost, order, truth) | {"metadata": {"filter_metadata": metadata}}
    found["match"] = _match(match)
    filters = {entry["type"]: entry for entry in rule.get("filters", [])}
    if redirect := filters.get("RequestRedirect"):
        path = redirect["requestRedirect"]["path"]["replaceFullPath"]
        return found | {"redirect": {"path_redirect": path, "response_code": "MOVED_PERMANENTLY"}}
    if any(ref["name"] == "does-not-exist" for ref in rule["backendRefs"]):
        return found | {"direct_response": {"status": 500}}
    found["route"] = _action(names, gateway, rule, filters, match, truth[1])
    if cors := filters.get("CORS"):
        policy = {
            "@type": f"{_TYPE}.filters.http.cors.v3.CorsPolicy",
            "allow_origin_string_match": [
                {"exact": origin} for origin in cors["cors"]["allowOrigins"]
            ],
            "allow_methods": ",".join(cors["cors"]["allowMethods"]),
        }
        found["typed_per_filter_config"] = {"envoy.filters.http.cors": policy}
    if rule.get("name") == "limited":
        bucket = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"}
        always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
        limit = {
            "@type": f"{_TYPE}.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            "token_bucket": bucket,
            "filter_enabled": always,
            "filter_enforced": always,
        }
        found["typed_per_filter_config"] = {"envoy.filters.http.local_ratelimit": limit}
    return found


def _match(match: Json) -> Json:
    path = match["path"]
    value = path["value"]
    if path["type"] == "Exact":
        found: Json = {"path": value}
    elif path["type"] == "RegularExpression":
        found = {"safe_regex": {"regex": value}}
    else:
        found = {"prefix": "/"} if value == "/" else {"path_separated_prefix": value}
    tests = [(entry["name"], entry["value"]) for entry in match.get("headers", [])]
    if "method" in match:
        tests.append((":method", match["method"]))
    found["headers"] = [{"name": name, "string_match": {"exact": value}} for name, value in tests]
    found["query_parameters"] = [
        {"name": entry["name"], "string_match": {"exact": entry["value"]}}
        for entry in match.get("queryParams", [])
    ]
    return found


def _action(
    names: Names, gateway: str, rule: Json, filters: Json, match: Json, namespace: str
) -> Json:
    weighted = [
        {"name": names.cluster(gateway, ref, namespace), "weight": ref.get("weight", 1)}
        for ref in rule["backendRefs"]
    ]
    action: Json = {"weighted_clusters": {"clusters": weighted}}
    if rewrite := filters.get("URLRewrite", {}).get("urlRewrite"):
        if "hostname" in rewrite:
            action["host_rewrite_literal"] = rewrite["hostname"]
            action["append_x_forwarded_host"] = False
        path = rewrite.get("path", {})
        pattern = text = ""
        if path.get("type") == "ReplaceFullPath":
            pattern, text = "^/.*$", path["replaceFullPath"]
        elif path:
            pattern = f"^{re.escape(match['path']['value'])}/*"
            text = path["replacePrefixMatch"].rstrip("/") + "/"
        if path:
            action["regex_rewrite"] = {"pattern": {"regex": pattern}, "substitution": text}
    if mirror := filters.get("RequestMirror"):
        ref = mirror["requestMirror"]["backendRef"]
        action["request_mirror_policies"] = [{"cluster": names.cluster(gateway, ref, namespace)}]
    if timeouts := rule.get("timeouts"):
        action["timeout"] = f"{int(timeouts['request'].removesuffix('ms')) / 1000}s"
    if retry := rule.get("retry"):
        action["retry_policy"] = {
            "retry_on": "retriable-status-codes",
            "retriable_status_codes": retry["codes"],
            "num_retries": retry["attempts"],
        }
    return action


def clusters(
    names: Names, documents: list[Json], endpoints: dict[str, tuple[str, int]]
) -> list[Json]:
    """A cluster for every backendRef; empty for a Service without endpoints.

    Args:
        endpoints: address and port by `namespace/name` of a Service.
    """
    found: dict[str, Json] = {}
    for document in documents:
        if not document["kind"].endswith("Route"):
            continue
        namespace = document["metadata"]["namespace"]
        gateways = {ref["name"] for ref in document["spec"]["parentRefs"]}
        for rule in document["spec"]["rules"]:
            mirrors = [
                entry["requestMirror"]["backendRef"]
                for entry in rule.get("filters", [])
                if entry["type"] == "RequestMirror"
            ]
            for ref in [*rule["backendRefs"], *mirrors]:
                where = f"{ref.get('namespace', namespace)}/{ref['name']}"
                for gateway in gateways:
                    name = names.cluster(gateway, ref, namespace)
                    found[name] = _cluster(names, name, where, endpoints)
    return list(found.values())


def _cluster(names: Names, name: str, where: str, endpoints: dict[str, tuple[str, int]]) -> Json:
    lb: list[Json] = []
    if where in endpoints:
        lb.append({"endpoint": {"address": address(*endpoints[where])}})
    made: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": lb}]},
    }
    if names.dialect == "contour":
        made["alt_stat_name"] = "_".join(name.split("/")[:3])
    return made
