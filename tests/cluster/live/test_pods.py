"""Pods of every kind are named as senders, by their connections and by their requests."""

import pytest

from tests.cluster.live import shop

ON_HOST = pytest.param(
    "onhost",
    marks=pytest.mark.xfail(reason="a pod of the host's network is only known as the host"),
)


@pytest.mark.parametrize("app", ["bare", "ordered", "everywhere", "static", ON_HOST])
def test_a_pod_is_named_as_the_sender(app: str) -> None:
    pod = shop.pod_of(app)
    path = shop.new_path()
    shop.ask(pod, path)
    flows = shop.requests(path)
    assert len(flows) == 1
    assert flows[0]["source"].get("pod_name") == pod


@pytest.mark.xfail(reason="a query to a Service is counted before and after its translation")
def test_a_name_is_looked_up_once() -> None:
    name = f"{shop.new_path('')[:12]}.shop.svc.cluster.local"
    pod = "bare"
    shop.kubectl("exec", "-n", "shop", pod, "--", "dig", "+short", "+tries=1", "A", name + ".")

    def asked() -> list[dict[str, object]]:
        return [
            flow
            for flow in shop.flows("--type", "l7", "--protocol", "dns")
            if flow["l7"]["dns"].get("query", "").startswith(name)
            and flow["l7"]["type"] == "REQUEST"
        ]

    assert len(shop.patiently(asked)) == 1
