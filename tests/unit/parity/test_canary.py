"""Canaries: header, cookie, weight, and the Service that they belong to."""

import pytest

from flowd.kubernetes.objects.ingress import Ingress
from tests.support.parity_objects import before, compared, gateway, ingress, rule

MAIN = ingress("main", ("/", "Prefix", "stable"))


def canary(service: str = "canary", **more: str) -> Ingress:
    """A canary of the main Ingress."""
    annotations = {"canary": "true"} | more
    return ingress(service, ("/", "Prefix", service), age=2, annotations=annotations)


def test_a_weight_total_below_a_hundred_counts_as_a_hundred() -> None:
    old = before(MAIN, canary(canary_weight="5", canary_weight_total="10"))
    verdict = compared(old, gateway(rule("/", "canary=5", "stable=5")))
    assert (verdict.cause, verdict.differs) == ("canary-weight-total", ["shares"])
    assert verdict.before.shares == {"shop/stable:80": 0.95, "shop/canary:80": 0.05}
    assert compared(old, gateway(rule("/", "canary=5", "stable=95"))).verdict == "same"


@pytest.mark.parametrize(
    ("headers", "backend"),
    [
        ({"X-Canary": "always"}, "shop/canary:80"),
        ({"X-Canary": "never", "Cookie": "beta=always"}, "shop/stable:80"),
        ({"X-Canary": "other", "Cookie": "beta=always"}, "shop/canary:80"),
        ({"Cookie": "beta=never"}, "shop/stable:80"),
        ({}, "shop/canary:80"),
    ],
)
def test_header_before_cookie_before_weight(headers: dict[str, str], backend: str) -> None:
    old = before(
        MAIN, canary(canary_weight="100", canary_by_header="X-Canary", canary_by_cookie="beta")
    )
    assert compared(old, gateway(rule("/", "stable")), headers=headers).before.backend == backend


def test_a_header_value_takes_the_meaning_of_always() -> None:
    old = before(MAIN, canary(canary_by_header="X-C", canary_by_header_value="yes"))
    new = gateway(rule("/", "stable"), rule("/", "canary", headers={"X-C": "yes"}))
    for value in ("yes", "always", "no"):
        assert compared(old, new, headers={"X-C": value}).verdict == "same"


def test_a_header_pattern_is_searched() -> None:
    old = before(MAIN, canary(canary_by_header="X-User", canary_by_header_pattern="beta-[0-9]"))
    new = gateway(rule("/", "stable"), rule("/", "canary", headers={"X-User": "always"}))
    for value in ("beta-7", "x-beta-7", "always"):
        assert compared(old, new, headers={"X-User": value}).cause == "canary-header-pattern"


def test_a_canary_belongs_to_the_service() -> None:
    other = ingress("b", ("/", "Prefix", "stable"), host="b.test", age=3)
    old = before(MAIN, canary(canary_weight="100"), other)
    new = gateway(rule("/", "stable"), hosts=["b.test"], listeners=["b.test"])
    verdict = compared(old, new, host="b.test")
    assert (verdict.cause, verdict.before.backend) == ("canary-leak", "shop/canary:80")


def test_only_the_oldest_canary_counts_and_one_alone_does_nothing() -> None:
    second = ingress("second", ("/", "Prefix", "second"), age=3, canary="true", canary_weight="100")
    old = before(MAIN, canary(canary_weight="0"), second)
    assert compared(old, gateway(rule("/", "stable"))).verdict == "same"
    assert compared(before(second), gateway(rule("/", "second"))).before.status == 404


def test_endpoints_decide_over_weights() -> None:
    old = before(MAIN, canary(canary_weight="100"))
    new = gateway(rule("/", "canary=100", "stable=0"))
    verdict = compared(old, new, down=["canary"])
    assert (verdict.cause, verdict.before.backend) == ("canary-no-endpoints", "shop/stable:80")
    verdict = compared(old, new, down=["stable"])
    assert (verdict.cause, verdict.before.status) == ("main-no-endpoints", 503)


def test_session_affinity_sets_a_cookie() -> None:
    old = before(ingress("main", ("/", "Prefix", "stable"), affinity="cookie"))
    assert compared(old, gateway(rule("/", "stable"))).cause == "session-affinity"
