"""A DNS server in a pod over UDP and TCP, and clients of it."""

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Generator

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.kernel.net import Pod
from tests.kernel.traffic import FAMILIES

PORT = 53
RECORDS = {
    "A": ["192.0.2.1", "192.0.2.2"],
    "AAAA": ["2001:db8::1"],
    "MX": ["10 mail.example."],
    "SRV": ["1 2 8443 web.example."],
    "TXT": ['"v=spf1 -all"'],
    "HTTPS": ["1 . alpn=h2"],
}
CODES = {"nx.example.": dns.rcode.NXDOMAIN, "fail.example.": dns.rcode.SERVFAIL}
SILENT, LONG, ALIAS = "silent.example.", "long.example.", "www.example."
MANY = [f"10.1.{number // 256}.{number % 256}" for number in range(1200)]


def respond(wire: bytes, told: dict[str, list[str]]) -> bytes | None:
    """The response to a query, chosen by its name; None for the name that gets no answer."""
    asked = dns.message.from_wire(wire)
    (question,) = asked.question
    name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
    if name == SILENT:
        return None
    response = dns.message.make_response(asked)
    if name in CODES:
        response.set_rcode(CODES[name])
        return response.to_wire()
    texts = MANY if name == LONG else told.get(name, RECORDS[kind])
    if name == ALIAS:
        response.answer.append(dns.rrset.from_text(name, 9, "IN", "CNAME", "edge.example."))
        name = "edge.example."
    # One set a record, or dnspython shuffles them
    response.answer += [dns.rrset.from_text(name, 60, "IN", kind, text) for text in texts]
    return response.to_wire()


@contextlib.contextmanager
def serving(pod: Pod, told: dict[str, list[str]] | None = None) -> Generator[None]:
    """Serve on all of the pod's addresses until the block ends; `told` maps names to addresses."""
    with contextlib.ExitStack() as stack:
        chosen = stack.enter_context(selectors.DefaultSelector())
        for family in FAMILIES:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                opened = stack.enter_context(pod.socket(family, kind))
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind((pod.at(family), PORT))
                if kind == socket.SOCK_STREAM:
                    opened.listen(16)
                chosen.register(opened, selectors.EVENT_READ)
        ended, end = socket.socketpair()
        stack.enter_context(ended)
        chosen.register(ended, selectors.EVENT_READ)
        thread = threading.Thread(target=_serve, args=(chosen, ended, told or {}))
        thread.start()
        try:
            yield
        finally:
            end.close()
            thread.join()


def _serve(
    chosen: selectors.BaseSelector, ended: socket.socket, told: dict[str, list[str]]
) -> None:
    while True:
        for key, _ in chosen.select():
            opened = key.fileobj
            if opened is ended:
                return
            assert isinstance(opened, socket.socket)
            if opened.type == socket.SOCK_DGRAM:
                wire, peer = opened.recvfrom(4096)
                if (answer := respond(wire, told)) is not None:
                    opened.sendto(answer, peer)
                continue
            peer_socket, _ = opened.accept()
            with peer_socket:
                peer_socket.settimeout(20)
                for wire in framed(peer_socket):
                    if (answer := respond(wire, told)) is not None:
                        peer_socket.sendall(struct.pack("!H", len(answer)) + answer)


def framed(peer: socket.socket) -> Generator[bytes]:
    """Yield the messages of a TCP connection until the peer closes."""
    with peer.makefile("rb") as stream:
        while head := stream.read(2):
            yield stream.read(int.from_bytes(head, "big"))


def ask(
    client: Pod,
    server: Pod,
    name: str,
    kind: str = "A",
    family: socket.AddressFamily = socket.AF_INET,
    *,
    number: int = 7,
    wait: bool = True,
) -> int:
    """Send one question over UDP; returns its source port."""
    with client.socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect((server.at(family), PORT))
        asking.send(dns.message.make_query(name, kind, id=number).to_wire())
        if wait:
            asking.recv(65535)
        return int(asking.getsockname()[1])


def ask_by_tcp(
    client: Pod,
    server: Pod,
    questions: list[tuple[str, str]],
    family: socket.AddressFamily = socket.AF_INET,
    *,
    piece: int = 65535,
) -> None:
    """Send questions with ids 1, 2, ... on one connection, in pieces, before the first answer."""
    raw = b""
    for number, (name, kind) in enumerate(questions, 1):
        wire = dns.message.make_query(name, kind, id=number).to_wire()
        raw += struct.pack("!H", len(wire)) + wire
    with client.socket(family, socket.SOCK_STREAM) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.connect((server.at(family), PORT))
        for at in range(0, len(raw), piece):
            peer.sendall(raw[at : at + piece])
        messages = framed(peer)
        for _ in questions:
            next(messages)
