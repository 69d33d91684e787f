/*
 * Record of a TCP socket (struct socket_event) and its counters; flowd_bpf/layout.py has the same
 * as dtypes.
 */
#pragma once

#include <linux/types.h>

enum socket_reason {
	SOCKET_ESTABLISHED = 1,
	SOCKET_UPDATE = 2,
	SOCKET_CLOSED = 3,
	SOCKET_FAILED = 4,
	SOCKET_RETRANSMIT = 5,
	SOCKET_RESET_SENT = 6,
	SOCKET_RESET_RECEIVED = 7,
};

/* Further facts in the upper half of the byte `reason`. */
enum socket_also {
	ALSO_ESTABLISHED = 0x10,
	ALSO_RESET_RECEIVED = 0x20,
};

enum socket_role {
	ROLE_CONNECTED = 1,
	ROLE_ACCEPTED = 2,
};

/* A record; `local` is the socket's end, `remote` the peer's. */
struct socket_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 cookie;
	__u64 cgroup;
	__u64 bytes_acked;
	__u64 bytes_received;
	__u64 connect_ns;
	__u8 local_addr[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 remote_addr[16];
	__u8 command[16];
	__u32 srtt_us;
	__u32 min_rtt_us;
	__u32 retransmits;
	__u32 pid;
	__u16 local_port; /* host byte order */
	__u16 remote_port;
	__u8 family; /* 4 or 6 */
	__u8 role;
	__u8 reason; /* socket_reason | socket_also */
	__u8 error;  /* errno */
};

enum socket_counter {
	SOCKETS_RECORDS,
	SOCKETS_RING_FULL, /* records */
	SOCKETS_FULL,	   /* sockets without storage: the kernel had no memory */
	SOCKETS_COUNTERS,
};

struct socket_counters {
	__u64 count[SOCKETS_COUNTERS];
};

_Static_assert(sizeof(struct socket_event) == 120, "socket_event");
