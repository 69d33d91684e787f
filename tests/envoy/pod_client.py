"""A process with clients of every protocol, which records the sent requests.

`python -m tests.envoy.pod_client JSON` (fields of Plan) prints the correctly answered requests:
`[protocol, id, local socket]` each; gRPC does not reveal its socket.
"""

# grpc's factories are generic without bounds, which strict checking calls unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import http.client
import json
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events

PATIENCE = 30.0
STREAMS = 20
Sent = list[tuple[str, str, str]]


@dataclass
class Plan:
    """Targets, and numbers of connections and of requests on each, by protocol."""

    host: str
    ports: dict[str, int]
    certificate: str
    amounts: dict[str, tuple[int, int]]

    def connect(self, name: str) -> tuple[socket.socket, str]:
        """A connection to a listener, and its local socket."""
        made = socket.create_connection((self.host, self.ports[name]), timeout=PATIENCE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        return made, "{}:{}".format(*made.getsockname())


def http1(plan: Plan, ids: list[str]) -> Sent:
    sent: Sent = []
    client = http.client.HTTPConnection(plan.host, timeout=PATIENCE)
    client.sock, local = plan.connect("http")
    for number in ids:
        client.request("POST", f"/one?{number}", number, {"x-request-id": number})
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, number.encode())
        sent.append(("http1", number, local))
    client.close()
    return sent


def http2(plan: Plan, ids: list[str]) -> Sent:
    sock, local = plan.connect("http")
    link = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    link.initiate_connection()
    todo, open_streams = list(reversed(ids)), dict[int, str]()
    sent: Sent = []
    statuses: dict[int, bytes] = {}
    while todo or open_streams:
        while todo and len(open_streams) < STREAMS:
            stream, number = link.get_next_available_stream_id(), todo.pop()
            fields = {":method": "GET", ":scheme": "http", ":authority": "two.example"}
            fields |= {":path": f"/two?{number}", "x-request-id": number}
            link.send_headers(stream, list(fields.items()), end_stream=True)
            open_streams[stream] = number
        sock.sendall(link.data_to_send())
        data = sock.recv(65536)
        assert data, "closed early"
        for event in link.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                statuses[event.stream_id] = dict(event.headers)[b":status"]
            if isinstance(event, h2.events.StreamEnded):
                assert statuses.pop(event.stream_id) == b"200"
                sent.append(("http2", open_streams.pop(event.stream_id), local))
    link.close_connection()
    sock.sendall(link.data_to_send())
    sock.close()
    return sent


def grpc_calls(plan: Plan, ids: list[str]) -> Sent:
    channel: Any = grpc.insecure_channel(
        f"{plan.host}:{plan.ports['http']}", options=[("grpc.use_local_subchannel_pool", 1)]
    )
    with channel:
        say = channel.unary_unary("/echo.Echo/Say")
        for number in ids:
            metadata = [("x-request-id", number)]
            assert say(number.encode(), metadata=metadata, timeout=PATIENCE) == number.encode()
    return [("grpc", number, "") for number in ids]


def websocket(plan: Plan, ids: list[str]) -> Sent:
    (number,) = ids
    sock, local = plan.connect("http")
    head = f"GET /socket HTTP/1.1\r\nhost: ws.example\r\nx-request-id: {number}\r\n"
    head += "upgrade: websocket\r\nconnection: upgrade\r\n"
    head += "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with sock, sock.makefile("rb") as answer:
        sock.sendall(head.encode())
        assert answer.readline().split()[1] == b"101"
        while answer.readline().strip():
            pass
        text, mask = number.encode(), os.urandom(4)
        sock.sendall(bytes([0x81, 0x80 | len(text)]) + mask)
        sock.sendall(bytes(byte ^ mask[at % 4] for at, byte in enumerate(text)))
        assert answer.read(2 + len(text))[2:] == text
    return [("websocket", number, local)]


def _line(sock: socket.socket, number: str) -> None:
    with sock, sock.makefile("rb") as answer:
        sock.sendall(f"{number}\n".encode())
        assert answer.readline().decode().strip() == number
        assert answer.read() == b""


def tls(plan: Plan, ids: list[str]) -> Sent:
    (number,) = ids
    sock, local = plan.connect("tls")
    context = ssl.create_default_context(cafile=plan.certificate)
    _line(context.wrap_socket(sock, server_hostname="pass.example"), number)
    return [("tls", number, local)]


def tcp(plan: Plan, ids: list[str]) -> Sent:
    (number,) = ids
    sock, local = plan.connect("tcp")
    _line(sock, number)
    return [("tcp", number, local)]


CLIENTS: dict[str, Callable[[Plan, list[str]], Sent]] = {
    "http1": http1,
    "http2": http2,
    "grpc": grpc_calls,
    "websocket": websocket,
    "tls": tls,
    "tcp": tcp,
}


def send(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Send all requests, over some connections of each protocol at a time."""
    with ThreadPoolExecutor(12) as pool:
        running = [
            pool.submit(CLIENTS[name], plan, [f"{name}-{at}-{n}" for n in range(each)])
            for name, (connections, each) in plan.amounts.items()
            for at in range(connections)
        ]
        for one in running:
            yield from one.result()


if __name__ == "__main__":
    print(json.dumps(list(send(Plan(**json.loads(sys.argv[1]))))))
