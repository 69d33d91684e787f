"""Locations of ingress-nginx beside HTTPRoute matches: prefixes, expressions, order, normalisation."""

import pytest

from tests.support.parity_objects import before, compared, gateway, ingress, rewrite, rule

PLAIN = before(ingress("web", ("/", "Prefix", "web"), ("/api", "Prefix", "api")))
ROUTES = gateway(rule("/", "web"), rule("/api", "api"))


@pytest.mark.parametrize(
    ("path", "backend"),
    [
        ("/api", "shop/api:80"),
        ("/api/", "shop/api:80"),
        ("/api/v1?q=1", "shop/api:80"),
        ("/apis", "shop/web:80"),
        ("/API", "shop/web:80"),
        ("/api;v=1", "shop/web:80"),
        ("/api%20x", "shop/web:80"),
    ],
)
def test_prefixes_are_segments_on_both_sides(path: str, backend: str) -> None:
    verdict = compared(PLAIN, ROUTES, path)
    assert (verdict.verdict, verdict.before.backend) == ("same", backend)


@pytest.mark.parametrize(
    ("path", "cause", "old", "new"),
    [
        ("/api//v1", "merge-slashes", "/api//v1", "/api/v1"),
        ("/api/./v1", "dot-segments", "/api/./v1", "/api/v1"),
        ("/x/../api/v1", "dot-segments", "/x/../api/v1", "/api/v1"),
        ("/%61pi/v1", "percent-decoding", "/%61pi/v1", "/api/v1"),
    ],
)
def test_nginx_forwards_the_target_as_it_came(path: str, cause: str, old: str, new: str) -> None:
    verdict = compared(PLAIN, ROUTES, path)
    assert (verdict.verdict, verdict.cause, verdict.differs) == ("different", cause, ["path"])
    assert verdict.before.backend == verdict.after.backend
    assert (verdict.before.upstream_path, verdict.after.upstream_path) == (old, new)


@pytest.mark.parametrize(
    ("path", "cause", "old", "new"),
    [
        ("/api%2Fv1", "escaped-slash", 200, 307),
        ("/api/%zz", "bad-escape", 400, 200),
        ("/api/%00", "", 400, 400),
        ("/..", "above-root", 400, 200),
        ("/api#top", "fragment", 200, 400),
    ],
)
def test_targets_that_one_side_refuses(path: str, cause: str, old: int, new: int) -> None:
    verdict = compared(PLAIN, ROUTES, path)
    assert (verdict.before.status, verdict.after.status, verdict.cause) == (old, new, cause)


def test_an_escaped_slash_depends_on_the_implementation() -> None:
    verdict = compared(PLAIN, gateway(rule("/", "web"), controller="unknown"), "/a%2Fb")
    assert (verdict.verdict, verdict.implementations) == ("depends", ["eg"])


def test_a_prefix_with_a_final_slash_redirects_the_bare_path() -> None:
    old = before(ingress("docs", ("/docs/", "Prefix", "docs"), ("/", "Prefix", "web")))
    new = gateway(rule("/docs", "docs"), rule("/", "web"))
    verdict = compared(old, new, "/docs?x=1")
    assert (verdict.cause, verdict.before.status) == ("trailing-slash-redirect", 301)
    assert verdict.before.location == "http://store.test/docs/?x=1"
    assert compared(old, new, "/docs/a").verdict == "same"


def test_an_expression_makes_every_path_of_the_host_one() -> None:
    old = before(
        ingress("plain", ("/pay", "Exact", "pay"), ("/cart", "Prefix", "cart")),
        ingress("rx", ("/img/.+", "ImplementationSpecific", "img"), age=2, use_regex="true"),
    )
    new = gateway(
        rule("/pay", "pay", kind="Exact"),
        rule("/cart", "cart"),
        rule("(?i)/img/.+", "img", kind="RegularExpression"),
    )
    for path in ("/payment", "/PAY", "/pay/now", "/cartoon"):
        verdict = compared(old, new, path)
        assert (verdict.cause, verdict.before.status, verdict.after.status) == (
            "regex-host",
            200,
            404,
        )
    assert compared(old, new, "/pay").verdict == "same"


def test_the_longest_expression_wins_whatever_is_more_specific() -> None:
    old = before(
        ingress(
            "rx",
            ("/api/[a-z0-9_-]+", "ImplementationSpecific", "loose"),
            ("/api/health", "Exact", "health"),
            use_regex="true",
        )
    )
    new = gateway(
        rule("/api/health", "health", kind="Exact"),
        rule("(?i)/api/[a-z0-9_-]+.*", "loose", kind="RegularExpression"),
    )
    verdict = compared(old, new, "/api/health")
    assert (verdict.cause, verdict.before.backend) == ("precedence", "shop/loose:80")


@pytest.mark.parametrize(
    ("path", "requested", "cause"),
    [
        ("/one|/two", "/x/two", "regex-alternation"),
        ("/(?!admin).*", "/shop", "regex-pcre-only"),
        ("/items/[0-9]+", "/ITEMS/7", "regex-case"),
        ("/items/[0-9]+", "/items/7/parts", "regex-full-match"),
    ],
)
def test_expressions_that_mean_something_else(path: str, requested: str, cause: str) -> None:
    old = before(ingress("rx", (path, "ImplementationSpecific", "app"), use_regex="true"))
    new = gateway(rule(path, "app", kind="RegularExpression"))
    verdict = compared(old, new, requested)
    assert (verdict.verdict, verdict.cause, verdict.after.status) == ("different", cause, 404)


@pytest.mark.parametrize("path", ["/[[:digit:]]+", "/(?<open"])
def test_an_expression_that_cannot_be_evaluated_is_unknown(path: str) -> None:
    old = before(ingress("rx", (path, "ImplementationSpecific", "app"), use_regex="true"))
    verdict = compared(old, gateway(rule("/", "app")), "/7")
    assert (verdict.verdict, verdict.cause) == ("unknown", "regex-unread")


def test_capture_groups_have_no_counterpart() -> None:
    old = before(
        ingress(
            "app",
            ("/app(/|$)(.*)", "ImplementationSpecific", "app"),
            use_regex="true",
            rewrite_target="/$2",
        )
    )
    literal = gateway(
        rule("(?i)/app(/|$)(.*).*", "app", kind="RegularExpression", filters=[rewrite("/$2")])
    )
    verdict = compared(old, literal, "/app/cart?x=1")
    assert (verdict.cause, verdict.before.upstream_path) == ("rewrite-capture", "/cart?x=1")
    by_hand = gateway(rule("/app", "app", filters=[rewrite("/", "ReplacePrefixMatch")]))
    assert compared(old, by_hand, "/app/cart?x=1").verdict == "same"
    assert compared(old, by_hand, "/app").verdict == "same"
    encoded = compared(old, by_hand, "/app/a%3Bb")
    assert (encoded.cause, encoded.before.upstream_path) == ("encoding-after-rewrite", "/a;b")


def test_a_rewrite_to_the_path_itself_is_none_for_the_bare_path() -> None:
    old = before(ingress("app", ("/app", "Prefix", "app"), rewrite_target="/app"))
    new = gateway(rule("(?i)/app.*", "app", kind="RegularExpression", filters=[rewrite("/app")]))
    assert compared(old, new, "/app").verdict == "same"
    assert compared(old, new, "/app/x").verdict == "same"  # nginx rewrites what is below
    assert compared(old, new, "/apple").cause == "rewrite-equals-path"


def test_a_refused_rewrite_target_is_no_rewrite() -> None:
    old = before(
        ingress("old", ("/old/(.*)", "ImplementationSpecific", "app"), rewrite_target="/new?id=$1")
    )
    new = gateway(rule("(?i)/old/(.*).*", "app", kind="RegularExpression"))
    verdict = compared(old, new, "/old/7")
    assert (verdict.cause, verdict.before.status) == ("annotation-invalid", 404)


def test_the_oldest_ingress_keeps_a_path() -> None:
    old = before(
        ingress("a", ("/", "Prefix", "first")),
        ingress("b", ("/", "ImplementationSpecific", "second"), age=2),
    )
    verdict = compared(old, gateway(rule("/", "second")), "/x")
    assert (verdict.cause, verdict.before.backend) == ("duplicate-path", "shop/first:80")


def test_two_exact_locations_are_refused_by_nginx() -> None:
    old = before(
        ingress("a", ("/a", "Prefix", "p"), ("/a", "Exact", "e1")),
        ingress("b", ("/a", "Exact", "e2"), age=2),
    )
    verdict = compared(old, gateway(rule("/a", "p")), "/a")
    assert (verdict.verdict, verdict.cause) == ("unknown", "nginx-config-error")
