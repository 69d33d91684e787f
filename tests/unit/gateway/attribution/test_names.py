"""Envoy route and cluster names of the Gateway API implementations."""

import pytest

from flowd.gateway.attribution.names import (
    RouteName,
    cluster_route,
    cluster_service,
    gateway_name,
    route_names,
)
from flowd.gateway.matching.backend import ServicePortRef

HTTP = ("HTTPRoute", "shop", "web")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("httproute/shop/web/rule/2/match/1/www_shop_example", RouteName(HTTP, 2, 1)),
        ("httproute/shop/web/rule/2/match/1/*", RouteName(HTTP, 2, 1)),
        ("httproute/shop/web/rule/0/match/-1/*", RouteName(HTTP, 0, 0)),
        (
            "grpcroute/shop/cart.v2/rule/0/match/0/*_shop_example",
            RouteName(("GRPCRoute", "shop", "cart.v2"), 0, 0),
        ),
    ],
)
def test_route_names(text: str, wanted: RouteName) -> None:
    assert route_names(text) == [wanted]


def test_a_joined_name_stands_for_every_way_to_split_it() -> None:
    text = "http~www_shop_example-route-0-httproute-web-one-shop-0-1-matcher-1"
    assert route_names(text) == [
        RouteName(("HTTPRoute", "one-shop", "web"), 0, 1, certain=False),
        RouteName(("HTTPRoute", "shop", "web-one"), 0, 1, certain=False),
    ]


@pytest.mark.parametrize("name", ["web", "a.b"])
def test_istios_name_leaves_the_kind_open(name: str) -> None:
    assert route_names(f"shop.{name}.3") == [
        RouteName((kind, "shop", name), 3, certain=False) for kind in ("HTTPRoute", "GRPCRoute")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "main",
        "httproute/shop/web/rule/2",
        "httproute/shop/web/rule/x/match/1/*",
        "httproute/sh op/web/rule/2/match/1/*",
        "httproute/shop/w\x1b[31m/rule/2/match/1/*",
        "httproute/shop/web/rule/99999/match/1/*",
        "httproute/" + "a" * 64 + "/web/rule/2/match/1/*",
        "HTTPRoute/shop/web/rule/2/match/1/*",
        "httproute/shop/web/rule/٣/match/1/*",
    ],
)
def test_other_names_mean_no_route(text: str) -> None:
    assert route_names(text) == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("httproute/shop/web/rule/3", RouteName(HTTP, 3)),
        ("httproute/shop/web/rule/3/backend/1", RouteName(HTTP, 3, -1, 1)),
        ("tlsroute/shop/pass/rule/-1", RouteName(("TLSRoute", "shop", "pass"), -1)),
        ("tcproute/shop/tcp", RouteName(("TCPRoute", "shop", "tcp"))),
        ("outbound|80||web.shop.svc.cluster.local", None),
    ],
)
def test_clusters_named_after_routes(text: str, wanted: RouteName | None) -> None:
    assert cluster_route(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "outbound|8080||web.shop.svc.cluster.local",
        "outbound|8080|v1|web.shop.svc.cluster.local",
        "service/shop/web/8080/http",
        "service/shop/web/8080",
        "infra/cilium-gateway-public/shop:web:8080",
        "kube_shop_web_8080",
        "shop/web/8080/da39a3ee5e",
    ],
)
def test_clusters_named_after_services(text: str) -> None:
    assert cluster_service(text) == ServicePortRef("shop", "web", 8080)


def test_other_clusters_name_no_service() -> None:
    for text in ("", "httproute/shop/web/rule/3", "xds_cluster", "kube_shop_web"):
        assert cluster_service(text) is None


def test_gateways_by_node_cluster() -> None:
    assert gateway_name("infra/public") == "infra/public"
    for text in ("", "public.infra", "infra/", "a/b/c", "infra/\x07"):
        assert gateway_name(text) == ""
