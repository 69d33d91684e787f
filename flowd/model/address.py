"""Pack and unpack IP addresses as 16 bytes: IPv6, or IPv4-mapped (RFC 4291, section 2.5.5.2)."""

import ipaddress
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MAPPED = bytes(10) + b"\xff\xff"
NONE = bytes(16)


@lru_cache(65536)
def pack(text: str) -> bytes:
    """The 16 bytes of a textual address.

    Raises:
        ValueError: text is not an IP address.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return MAPPED + address.packed if address.version == 4 else address.packed


@lru_cache(65536)
def unpack(packed: bytes) -> str:
    """Textual form of 16 bytes; an IPv4-mapped address as a dotted quad, all zeros as ""."""
    if packed == NONE:
        return ""
    if packed[:12] == MAPPED:
        return ".".join(str(octet) for octet in packed[12:])
    return str(ipaddress.IPv6Address(packed))


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        pack(text)
    except ValueError:
        return False
    return True


@lru_cache(4096)
def network(text: str) -> tuple[bytes, int]:
    """First address (16 bytes) and prefix length in bits of a network in CIDR form, IPv4 mapped.

    Raises:
        ValueError: text is not a network.
    """
    found = ipaddress.ip_network(text, strict=False)
    shift = 96 if found.version == 4 else 0
    return pack(str(found.network_address)), found.prefixlen + shift


def column(texts: list[str]) -> NDArray[np.uint8]:
    """Pack textual addresses into an array of shape (len(texts), 16) and dtype uint8.

    Raises:
        ValueError: a text is not an IP address.
    """
    return np.frombuffer(b"".join(map(pack, texts)), np.uint8).reshape(-1, 16)
