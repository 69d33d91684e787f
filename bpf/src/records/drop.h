/*
 * Key and value of the map flowd_drops (dropped packets); flowd_bpf/layout.py has the same as
 * dtypes.
 */
#pragma once

#include "records/event.h"

enum drop_tuple {
	TUPLE_NONE = 0,
	TUPLE_SOCKET = 1, /* of the socket, since the packet is not readable */
	TUPLE_PACKET = 2,
};

/* Addresses as in connection_key, zero when unknown. */
struct drop_key {
	__u8 src_addr[16];
	__u8 dst_addr[16];
	__u32 reason;	/* enum skb_drop_reason of the running kernel */
	__u32 ifindex;	/* 0 for none, or one of another network namespace */
	__u16 src_port; /* network byte order */
	__u16 dst_port;
	__u8 protocol;
	__u8 family;
	__u8 tuple;
	__u8 flags; /* TCP flags */
};

struct drop_count {
	__u64 packets;
	__u64 bytes;
	__u64 time_ns; /* CLOCK_MONOTONIC, of the first packet */
};

_Static_assert(sizeof(struct drop_key) == 48, "drop_key");
_Static_assert(sizeof(struct drop_count) == 24, "drop_count");
