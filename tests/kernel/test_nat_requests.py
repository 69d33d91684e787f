"""Requests join their connections when these go through a Service's address."""

import asyncio
import itertools
import socket
import time

import numpy as np

from flowd.model.address import unpack
from flowd.model.enums import FlowType, Protocol, Reason
from flowd.model.losses import Losses
from flowd.model.records.connection import empty_connections
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.pipeline.dns_nat_flows import POST_FORWARD, PRE_FORWARD
from flowd.pipeline.identify import identify
from flowd.pipeline.join.join import Join
from tests.kernel.nat_net import Router, Truth
from tests.kernel.nat_rules import LOAD_BALANCER, SERVICE, SERVICE_PORT
from tests.kernel.recorder import eventually
from tests.kernel.translated import exchange, translating
from tests.support.join_rows import KnownAddresses, request

_numbers = itertools.count(1)
TCP = socket.SOCK_STREAM


def entry(truth: Truth, at_ns: int, *, upstream: bool) -> RequestBatch:
    """A gateway's access-log entry, as the Service's client (upstream) or as the answering pod."""
    client, service = (f"{h}:{p}" for h, p in (truth.before[:2], truth.before[2:]))
    peer, pod = (f"{h}:{p}" for h, p in (truth.after[:2], truth.after[2:]))
    if upstream:
        return request("192.0.2.1:1", "192.0.2.2:2", client, service, time_ns=at_ns)
    return request(peer, pod, time_ns=at_ns)


async def test_requests_have_the_real_client_and_the_real_backend() -> None:
    family = socket.AF_INET
    router = Router(f"req{next(_numbers)}")
    with router.made(), router.serving(family, TCP):
        client, one, two = (host.at(family) for host in (router.client, router.one, router.two))
        names = (client, one, two, SERVICE[family], LOAD_BALANCER[family])
        addresses = KnownAddresses(*names, local=(client, one, two))
        async with translating() as seen:
            truths: list[Truth] = []
            for address in (SERVICE[family], LOAD_BALANCER[family]):
                to = (address, SERVICE_PORT)
                truths += await asyncio.to_thread(exchange, router, family, TCP, to, 4)
            rows = await seen.until(
                Protocol.TCP, lambda rows: int(np.sum(rows["reason"] == Reason.END)) == 16
            )
    join = Join(addresses, Losses())
    begun = {int(row["src_port"]): int(row["first_ns"]) for row in rows}
    entries = np.concatenate(
        [
            empty_requests(),
            *(
                entry(truth, begun[truth.before[1]], upstream=upstream)
                for truth in truths
                for upstream in (True, False)
            ),
        ]
    )
    records = identify(rows, addresses)
    done = join.step(records, entries, time.time_ns())
    late = join.step(empty_connections(), empty_requests(), time.time_ns() + 60 * 10**9)
    told = np.concatenate([done.requests, late.requests])
    upstream, downstream = told[told["up_remote_port"] != 0], told[told["up_remote_port"] == 0]
    pods = {one: 2, two: 3}
    assert sorted(upstream["backend_endpoint"]) == sorted(pods[t.after[2]] for t in truths)
    assert set(upstream["gateway_endpoint"]) == {1}
    assert (upstream["up_conn"] != 0).all()
    assert set(downstream["client_endpoint"]) == {1}
    assert (downstream["down_conn"] != 0).all()
    masqueraded = [truth for truth in truths if truth.before[:2] != truth.after[:2]]
    assert masqueraded


async def test_sockets_to_a_service_are_shown_with_both_addresses() -> None:
    family = socket.AF_INET
    router = Router(f"req{next(_numbers)}")
    with router.made(), router.serving(family, TCP):
        client, one, two = (host.at(family) for host in (router.client, router.one, router.two))
        addresses = KnownAddresses(client, one, two, SERVICE[family], local=(client, one, two))
        async with translating(sockets=True) as seen:
            sockets = seen.recorder.capture.take_sockets
            join = Join(addresses, Losses(), sockets=sockets)
            shown: set[tuple[int, str, int, str, int]] = set()

            def step() -> None:
                records = identify(seen.take(), addresses)
                flows = join.step(records, empty_requests(), time.time_ns()).flows
                for row in flows[flows["type"] == FlowType.SOCK]:
                    src, dst = (unpack(bytes(row[f"{side}_addr"])) for side in ("src", "dst"))
                    ports = int(row["src_port"]), int(row["dst_port"])
                    shown.add((int(row["sub_type"]), src, ports[0], dst, ports[1]))

            def all_shown(wanted: set[tuple[int, str, int, str, int]]) -> bool:
                step()
                return shown >= wanted

            to = (SERVICE[family], SERVICE_PORT)
            truths = await asyncio.to_thread(exchange, router, family, TCP, to, 4)
            wanted = {(PRE_FORWARD, *truth.before) for truth in truths}
            wanted |= {(POST_FORWARD, *truth.after) for truth in truths}
            await eventually(lambda: all_shown(wanted))
    assert shown == wanted
