"""Hosts: wildcards, hostless rules, default backends, aliases, www."""

from flowd.kubernetes.objects.snapshot import Objects
from tests.support.parity_objects import (
    add_route,
    before,
    compared,
    gateway,
    ingress,
    redirect,
    rule,
)


def test_a_wildcard_of_an_ingress_is_one_label() -> None:
    old = before(ingress("w", ("/", "Prefix", "wild"), host="*.store.test"))
    new = gateway(rule("/", "wild"), hosts=["*.store.test"], listeners=["*.store.test"])
    assert compared(old, new, host="a.store.test").verdict == "same"
    assert compared(old, new, host="A.store.test:80").verdict == "same"
    assert compared(old, new, host="a.b.store.test").cause == "wildcard-depth"
    assert compared(old, new, host="a!b.store.test").cause == "wildcard-charset"


def test_a_known_host_does_not_fall_through_to_the_wildcard() -> None:
    old = before(
        ingress("w", ("/", "Prefix", "wild"), host="*.store.test"),
        ingress("a", ("/x", "Prefix", "exact"), host="a.store.test", age=2),
    )
    new = gateway(
        rule("/", "wild"), hosts=["*.store.test"], listeners=["*.store.test", "a.store.test"]
    )
    add_route(new, "exact", rule("/x", "exact"), hosts=["a.store.test"])
    verdict = compared(old, new, "/y", host="a.store.test")
    assert (verdict.cause, verdict.before.status) == ("wildcard-fallthrough", 404)


def test_rules_without_host_take_unknown_hosts_only() -> None:
    old = before(
        ingress("shop", ("/shop", "Prefix", "shop")),
        ingress("static", ("/static", "Prefix", "static"), host="", age=2),
    )
    new = gateway(rule("/shop", "shop"), listeners=["", "store.test"])
    add_route(new, "static", rule("/static", "static"), hosts=[])
    assert compared(old, new, "/static/a", host="other.test").verdict == "same"
    verdict = compared(old, new, "/static/a")
    assert (verdict.cause, verdict.before.status) == ("hostless-fallthrough", 404)


def test_only_the_oldest_ingress_sets_the_default_backend() -> None:
    old = before(
        ingress("a", ("/a", "Prefix", "a")),
        ingress("b", ("/b", "Prefix", "b"), age=2, default="fallback"),
    )
    new = gateway(rule("/a", "a"), rule("/b", "b"), rule("/", "fallback"))
    assert compared(old, new, "/other").cause == "default-backend-order"


def test_the_catch_all_takes_unknown_hosts() -> None:
    old = before(ingress("all", default="fallback"), ingress("a", ("/a", "Prefix", "a"), age=2))
    verdict = compared(old, gateway(rule("/a", "a")), "/x", host="other.test")
    assert (verdict.cause, verdict.before.backend) == ("catch-all", "shop/fallback:80")


def test_health_checks_of_unknown_hosts_are_answered_by_nginx() -> None:
    old = before(ingress("all", default="fallback"))
    new = gateway(rule("/", "fallback"), hosts=[], listeners=[""])
    verdict = compared(old, new, "/healthz", host="10.0.0.1")
    assert (verdict.cause, verdict.before.backend) == ("controller-healthz", "")


def test_an_alias_was_left_out() -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), server_alias="shop.test, www2.test"))
    verdict = compared(old, gateway(rule("/", "web")), host="www2.test")
    assert (verdict.cause, verdict.after.status) == ("server-alias", 404)


def test_www_redirects_with_308_and_a_port() -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), from_to_www_redirect="true"))
    new = gateway(rule("/", "web"), listeners=["store.test", "www.store.test"])
    moved = rule("/", filters=[redirect(301, hostname="store.test")])
    add_route(new, "www", moved, hosts=["www.store.test"])
    verdict = compared(old, new, "/a?b=1", host="www.store.test")
    assert (verdict.cause, verdict.differs) == ("redirect-code", ["status"])
    assert verdict.before.location == "http://store.test:80/a?b=1"


def test_nothing_after_is_a_failed_conversion() -> None:
    old = before(ingress("a", ("/", "Prefix", "web")))
    assert compared(old, Objects()).cause == "conversion-failed"
