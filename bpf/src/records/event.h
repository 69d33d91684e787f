/*
 * Every struct and number that crosses from the kernel to Python.
 *
 * flowd_bpf/layout.py holds the same as numpy dtypes; tests/unit/bpf/test_layout.py compares them.
 * All padding is written out, so that no byte of the kernel's stack leaves with a record.
 */
#pragma once

#include <linux/types.h>

enum flow_reason {
	REASON_NEW = 1,
	REASON_FLAGS = 2,
	REASON_ACTIVE = 3,
	REASON_END = 4,
};

enum flow_initiator {
	INITIATOR_SYN = 1,
	INITIATOR_FIRST_PACKET = 2,
};

enum flow_hook {
	HOOK_INGRESS = 0,
	HOOK_EGRESS = 1,
};

/* IPv6, or IPv4 as ::ffff:a.b.c.d; the words are for comparing, in no meaningful byte order. */
union address {
	__u8 bytes[16];
	__u32 word[4];
	__u64 half[2];
};

/* Addresses that begin alike, the key of a longest-prefix map: IPv4 has 96 bits more than written. */
struct prefix {
	__u32 bits;
	union address address;
} __attribute__((packed));

/* The same for both directions: side 0 is the one whose address, then port, compares lower. */
struct connection_key {
	union address addr[2];
	__u16 port[2]; /* network byte order */
	__u8 protocol;
	__u8 pad[3];
};

enum tunnel_kind {
	TUNNEL_VXLAN = 1,
	TUNNEL_GENEVE = 2,
	TUNNEL_IP = 3,
};

/* The outer addresses, in the direction of the initiator of what is inside. */
struct tunnel {
	union address src;
	union address dst;
	__u32 vni;
	__u8 kind;
	__u8 pad[3];
};

#define TUNNEL_UNNAMED 1 /* in place of a key of flowd_tunnels; 0 is no tunnel */

/* What one side of a connection sent. */
struct side {
	__u64 total_bytes; /* in records */
	__u64 total_packets;
	__u64 bytes; /* not in any record yet */
	__u64 packets;
	__u64 owner; /* ifindex << 1 | hook that counts this direction; 0 for none */
	__u32 seen;  /* jiffies of the last packet counted */
	__u32 pad;
};

/*
 * `marks`, a word for atomic OR: TCP flags seen from side 0 and side 1, the same as far as they are
 * in a record (8 bits each), and the bits below.
 */
#define MARK_SEEN(side) (8 * (side))
#define MARK_REPORTED(side) (16 + 8 * (side))
#define MARK_ANNOUNCED (1ULL << 32) /* a record with REASON_NEW is out */
#define MARK_ENDED (1ULL << 33)	    /* a record with REASON_END is out, or will be */

/*
 * A slot of the table: see conns.h. A packet needs the first cache line and, of what it writes at
 * every packet, either side needs another one: the two sides are often on two CPUs.
 */
struct connection {
	__u64 home; /* of the connections that belong here, not of the one that is here: see conns.h */
	struct connection_key key;
	__u64 marks;
	__u32 reported; /* jiffies of the last record; of a free slot, of its becoming free */
	__u8 state;	/* slot_state; this and the next three are 0 when it is free */
	__u8 place;	/* where from its home it is */
	__u8 forward;	/* side that began the connection */
	__u8 family;
	struct side side[2];
	__u64 first_ns; /* CLOCK_MONOTONIC */
	__u64 conn_id;
	__u32 tunnel; /* key of flowd_tunnels */
	__u8 initiator;
	__u8 icmp_type; /* of the first packet */
	__u8 icmp_code;
	__u8 pad;
	__u32 endpoint[2];
};

enum slot_state {
	SLOT_FREE = 0,
	SLOT_CLAIMED = 1, /* being filled */
	SLOT_HELD = 2,
	SLOT_ASIDE = 3, /* by a connection that is over and whose ports another one has: packets no longer find it */
};

enum take_how {
	TAKE_SILENT = 1, /* if no packet came since */
	TAKE_ANYHOW = 2,
};

#define TAKE_MOST 16 /* a run: they and the kernel's own fit into a page */

/* An entry as it was found, and then as it was when it was taken out. */
struct taken {
	__u32 slot;
	__u32 how; /* take_how; 0 if it was not */
	struct connection value;
};

/* A record. Index 0 is initiator to responder, and `src` the initiator. */
struct flow_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 first_ns;
	__u64 conn_id;
	__u64 bytes[2]; /* since the previous record */
	__u64 packets[2];
	__u64 total_bytes[2];
	__u64 total_packets[2];
	__u8 src_addr[16];
	__u8 dst_addr[16];
	__u32 src_endpoint;
	__u32 dst_endpoint;
	__u32 ifindex;
	__u32 tunnel;
	__u16 src_port; /* host byte order */
	__u16 dst_port;
	__u8 protocol;
	__u8 family;
	__u8 reason;
	__u8 hook;
	__u8 is_reply;
	__u8 initiator;
	__u8 flags;
	__u8 flags_seen[2];
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 pad[1];
};

_Static_assert(sizeof(struct connection_key) == 40, "connection_key");
_Static_assert(sizeof(struct prefix) == 20, "prefix");
_Static_assert(sizeof(struct tunnel) == 40, "tunnel");
_Static_assert(sizeof(struct side) == 48, "side");
_Static_assert(sizeof(struct connection) == 192, "connection");
_Static_assert(sizeof(struct taken) == 200, "taken");
_Static_assert(sizeof(struct flow_event) == 152, "flow_event");
_Static_assert(__builtin_offsetof(struct connection, side) == 64, "connection.side");
_Static_assert(__builtin_offsetof(struct flow_event, src_addr) == 88, "flow_event.src_addr");
_Static_assert(__builtin_offsetof(struct flow_event, protocol) == 140, "flow_event.protocol");
