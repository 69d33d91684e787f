/*
 * What crosses to Python about DNS messages; flowd_bpf/layout.py holds the same.
 *
 * Records come in two sizes, each with a ring of its own, since most messages are short. Bytes of a
 * payload past `length` mean nothing.
 */
#pragma once

#include <linux/types.h>

#define DNS_SHORT 184
#define DNS_LONG 1472 /* a datagram on a link of 1500 bytes */

/* A datagram, or a stretch of a TCP stream; without payload for a segment with SYN, FIN or RST. */
struct dns_head {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 conn_id;
	__u8 src_addr[16]; /* the sender's */
	__u8 dst_addr[16];
	__u32 ifindex;
	__u32 seq;	/* of TCP: of the first byte here, or of the SYN */
	__u32 original; /* bytes of payload that the packet has from here on */
	__u16 src_port; /* host byte order */
	__u16 dst_port;
	__u16 length; /* bytes of payload that are here */
	__u8 protocol;
	__u8 family;
	__u8 hook;
	__u8 flags; /* of TCP */
	__u8 pad[2];
};

struct dns_short {
	struct dns_head head;
	__u8 payload[DNS_SHORT];
};

struct dns_long {
	struct dns_head head;
	__u8 payload[DNS_LONG];
};

_Static_assert(sizeof(struct dns_head) == 72, "dns_head");
_Static_assert(sizeof(struct dns_short) == 256, "dns_short");
_Static_assert(sizeof(struct dns_long) == 1544, "dns_long");
