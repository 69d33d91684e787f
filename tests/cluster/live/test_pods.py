"""Pods of every kind are named as senders, by their connections and by their requests."""

import pytest

from tests.cluster.live import shop

KINDS = {
    "bare": ("Pod", "bare"),
    "ordered": ("StatefulSet", "ordered"),
    "everywhere": ("DaemonSet", "everywhere"),
    "static": ("Node", ""),
    "onhost": ("Pod", "onhost"),
}


@pytest.mark.parametrize("app", KINDS)
def test_a_pod_is_named_as_the_sender(app: str) -> None:
    pod = shop.pod_of(app)
    path = shop.new_path()
    shop.ask(pod, path)
    flows = shop.requests(path)
    assert len(flows) == 1
    assert flows[0]["source"].get("pod_name") == pod


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
