/*
 * What crosses to Python about dropped packets; flowd_bpf/layout.py holds the same.
 */
#pragma once

#include "records/event.h"

enum drop_tuple {
	TUPLE_NONE = 0,
	TUPLE_SOCKET = 1, /* from the socket, as the packet could not be read */
	TUPLE_PACKET = 2,
};

/* Addresses are as in connection_key, and zero where not known. */
struct drop_key {
	__u8 src_addr[16];
	__u8 dst_addr[16];
	__u32 reason;  /* enum skb_drop_reason of the running kernel */
	__u32 ifindex; /* 0: none, or of another network namespace */
	__u16 src_port; /* network byte order */
	__u16 dst_port;
	__u8 protocol;
	__u8 family;
	__u8 tuple;
	__u8 flags; /* of TCP */
};

struct drop_count {
	__u64 packets;
	__u64 bytes;
	__u64 time_ns; /* CLOCK_MONOTONIC, of the first one */
};

_Static_assert(sizeof(struct drop_key) == 48, "drop_key");
_Static_assert(sizeof(struct drop_count) == 24, "drop_count");
