/*
 * Record of a DNS payload (struct dns_head and its bytes); flowd_bpf/layout.py has the same as
 * dtypes.
 *
 * There are two sizes, each with its own ring, since most messages are short. Payload bytes past
 * `length` are undefined.
 */
#pragma once

#include <linux/types.h>

#define DNS_SHORT 184
#define DNS_LONG 1472 /* a datagram on a link of 1500 bytes */

/* A datagram or a part of a TCP stream; a TCP segment with SYN, FIN or RST may have no payload. */
struct dns_head {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 conn_id;
	__u8 src_addr[16]; /* sender */
	__u8 dst_addr[16];
	__u32 ifindex;
	__u32 seq;	/* TCP: of the first payload byte here, or of the SYN */
	__u32 original; /* payload bytes of the packet from here to its end */
	__u16 src_port; /* host byte order */
	__u16 dst_port;
	__u16 length; /* payload bytes in this record */
	__u8 protocol;
	__u8 family;
	__u8 hook;
	__u8 flags; /* TCP flags */
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
