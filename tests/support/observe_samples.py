"""Server responses of `flowd observe`, one for each line of the golden files."""

from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from flowd.wire.observer.observer_pb2 import GetFlowsResponse

NODE = "prod/node-a"
SECOND = "2026-11-21T09:15:0"

CHECKOUT: dict[str, Any] = {"identity": 40213, "namespace": "orders"}
CHECKOUT["pod_name"] = "checkout-5f7b9-q2xkd"
LEDGER: dict[str, Any] = {"identity": 51877, "namespace": "pay", "pod_name": "ledger-0"}
WORLD: dict[str, Any] = {"identity": 2}
REQUEST_IP = {"source": "10.8.1.20", "destination": "10.8.2.31", "ipVersion": "IPv4"}
REPLY_IP = {"source": "10.8.2.31", "destination": "10.8.1.20", "ipVersion": "IPv4"}


def flow(time: str, **fields: Any) -> GetFlowsResponse:
    """A GetFlows response; `time` is the text after SECOND."""
    stamp = f"{SECOND}{time}Z"
    body = {"time": stamp, "node_name": NODE, "verdict": "FORWARDED"} | fields
    return ParseDict({"flow": body, "node_name": NODE, "time": stamp}, GetFlowsResponse())


def tcp(source: int, destination: int) -> dict[str, Any]:
    """An `l4` of TCP."""
    return {"TCP": {"source_port": source, "destination_port": destination}}


def trace(sub_type: int) -> dict[str, int]:
    """An `event_type` of a trace event."""
    return {"type": 4, "sub_type": sub_type}


SYN = flow(
    "0",
    IP=REQUEST_IP,
    l4=tcp(40112, 8443),
    source=CHECKOUT,
    destination=LEDGER,
    event_type=trace(3),
    is_reply=False,
    Summary="TCP Flags: SYN",
)
SYN_ACK = flow(
    "0.001",
    IP=REPLY_IP,
    l4=tcp(8443, 40112),
    source=LEDGER,
    destination=CHECKOUT,
    event_type=trace(0),
    is_reply=True,
    Summary="TCP Flags: SYN, ACK",
)
DNS = flow(
    "0.002",
    IP={"source": "10.8.1.20", "destination": "10.8.0.10"},
    l4={"UDP": {"source_port": 53311, "destination_port": 53}},
    source=CHECKOUT,
    destination={"identity": 33001, "namespace": "kube-system", "pod_name": "coredns-7f"},
    l7={"type": "REQUEST", "dns": {"observation_source": "proxy"}},
    event_type={"type": 129},
    is_reply=False,
    Summary="DNS Query ledger.pay.svc.cluster.local. A",
)
HTTP = flow(
    "0.005",
    IP=REPLY_IP,
    l4=tcp(8443, 40112),
    source=LEDGER,
    destination=CHECKOUT,
    l7={"type": "RESPONSE", "http": {"code": 201, "method": "POST"}},
    event_type={"type": 129},
    is_reply=True,
    Summary="HTTP/1.1 201 18ms (POST http://ledger.pay/v1/entries)",
)
_ROUTE = Struct()
_ROUTE.update(
    {
        "gateway": "infra/public",
        "listener": "https",
        "route": "HTTPRoute/pay/ledger",
        "rule": 0,
        "backend": "pay/ledger:8443",
        "attribution": "resolver",
        "response_flags": ["UT", "DC"],
        "bytes": 4096,
    }
)
HTTP.flow.extensions.Pack(_ROUTE)
DENIED = flow(
    "0.006",
    verdict="DROPPED",
    IP={"source": "198.51.100.23", "destination": "10.8.2.31"},
    l4=tcp(61000, 8443),
    source=WORLD,
    destination=LEDGER,
    event_type={"type": 1, "sub_type": 133},
    Summary="TCP Flags: SYN",
)
VERDICT = flow(
    "0.007",
    verdict="DROPPED",
    IP={"source": "198.51.100.23", "destination": "10.8.2.31"},
    l4=tcp(61000, 8443),
    source=WORLD,
    destination=LEDGER,
    event_type={"type": 5},
    traffic_direction="INGRESS",
    is_reply=False,
    Summary="TCP Flags: SYN",
)
FQDN = flow(
    "0.008",
    IP={"source": "10.8.1.20", "destination": "203.0.113.9"},
    l4=tcp(40200, 443),
    source=CHECKOUT,
    destination=WORLD,
    destination_names=["api.example.net"],
    event_type=trace(11),
    is_reply=False,
    Summary="TCP Flags: ACK",
)
SOCKET = flow(
    "0.009",
    verdict="TRANSLATED",
    IP={"source": "10.8.1.20", "destination": "10.96.0.7"},
    l4=tcp(0, 80),
    source=CHECKOUT,
    destination_service={"name": "ledger", "namespace": "pay"},
    event_type={"type": 7},
    sock_xlate_point="SOCK_XLATE_POINT_PRE_DIRECTION_FWD",
    Summary="TCP",
)
IPV6 = flow(
    "0.010",
    IP={"source": "fd00:8::14", "destination": "fd00:8::1f", "ipVersion": "IPv6"},
    l4=tcp(40112, 8443),
    source={"identity": 8},
    destination={"identity": 6},
    event_type=trace(10),
    is_reply=False,
    Summary="TCP Flags: ACK",
)
ETHERNET = flow(
    "0.012",
    ethernet={"source": "02:00:00:00:00:01", "destination": "ff:ff:ff:ff:ff:ff"},
    event_type=trace(10),
)
LOST: GetFlowsResponse = ParseDict(
    {
        "lost_events": {
            "source": "HUBBLE_RING_BUFFER",
            "num_events_lost": "17",
            "first": "2026-11-21T09:14:59Z",
            "last": "2026-11-21T09:15:00Z",
        },
        "node_name": NODE,
        "time": "2026-11-21T09:15:01Z",
    },
    GetFlowsResponse(),
)
ALL = [SYN, SYN_ACK, DNS, HTTP, DENIED, VERDICT, FQDN, SOCKET, IPV6, ETHERNET, LOST]


def node_status(state: str, *names: str, message: str = "") -> GetFlowsResponse:
    """A relay's node status response."""
    status = {"state_change": state, "node_names": list(names), "message": message}
    envelope = {"node_name": "relay-0", "time": f"{SECOND}1Z"}
    return ParseDict({"node_status": status} | envelope, GetFlowsResponse())
