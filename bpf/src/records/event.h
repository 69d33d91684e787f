/*
 * Structs shared with Python: connection table entry, flow record (struct flow_event), tunnel,
 * eviction.
 *
 * flowd_bpf/layout.py has the same as numpy dtypes; tests/unit/bpf/test_layout.py compares them.
 * All padding is explicit, so that no uninitialized byte of the kernel's stack is in a record.
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

/* IPv6, or IPv4 as ::ffff:a.b.c.d. The words are for comparison only: their values mean nothing. */
union address {
	__u8 bytes[16];
	__u32 word[4];
	__u64 half[2];
};

/* Key of a longest-prefix-match map (BPF_MAP_TYPE_LPM_TRIE); an IPv4 prefix is 96 bits longer. */
struct prefix {
	__u32 bits;
	union address address;
} __attribute__((packed));

/* The same for both directions: side 0 is the end whose address, then port, compares lower. */
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

/* The outer addresses, in the direction of the inner connection's initiator. */
struct tunnel {
	union address src;
	union address dst;
	__u32 vni;
	__u8 kind;
	__u8 pad[3];
};

#define TUNNEL_UNNAMED 1 /* a tunnel without an entry in flowd_tunnels; 0 is no tunnel */

/* Packets that one side of a connection sent. */
struct side {
	__u64 total_bytes; /* in records so far */
	__u64 total_packets;
	__u64 bytes; /* in no record yet */
	__u64 packets;
	__u64 counting_if; /* ifindex << 1 | hook that counts them; 0 for none yet */
	__u32 seen;	   /* jiffies of the last counted packet */
	__u32 pad;
};

/*
 * Bits of `marks`, set by atomic OR: TCP flags seen from side 0 and side 1, then the flags of each
 * that a record has reported (8 bits each), then the bits below.
 */
#define MARK_SEEN(side) (8 * (side))
#define MARK_REPORTED(side) (16 + 8 * (side))
#define MARK_ANNOUNCED (1ULL << 32) /* a record with REASON_NEW is written */
#define MARK_ENDED (1ULL << 33)	    /* a record with REASON_END is written, or will be */

/*
 * A slot of the connection table: see conn/table.h. A lookup reads the first cache line only. The
 * fields that every packet writes are in one cache line for each side, since the two sides are often
 * on two CPUs.
 */
struct connection {
	__u64 bucket_bits; /* probe bitmap of this bucket, unrelated to the entry stored here */
	struct connection_key key;
	__u64 marks;
	__u32 reported; /* jiffies of the last record, or of the release of a free slot */
	__u8 state;	/* slot_state; this and the next three bytes are 0 in a free slot */
	__u8 probe;	/* number of the probe at which the entry lies */
	__u8 forward;	/* side of the initiator */
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
	SLOT_USED = 2,
	SLOT_DETACHED = 3, /* closed and unlinked: its tuple is reused */
};

enum evict_mode {
	EVICT_IF_IDLE = 1, /* if no packet came since user space read the entry */
	EVICT_ALWAYS = 2,
};

#define EVICT_BATCH 16 /* requests a run; with the kernel's headroom they fit into a page */

/*
 * Eviction request: the entry as read from the table. The program replaces it by the evicted one.
 */
struct eviction {
	__u32 slot;
	__u32 mode; /* evict_mode; the program sets 0 when the entry stays */
	struct connection value;
};

/* A flow record. Index 0 is the direction from initiator to responder; `src` is the initiator. */
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
_Static_assert(sizeof(struct eviction) == 200, "eviction");
_Static_assert(sizeof(struct flow_event) == 152, "flow_event");
_Static_assert(__builtin_offsetof(struct connection, side) == 64, "connection.side");
_Static_assert(__builtin_offsetof(struct flow_event, src_addr) == 88, "flow_event.src_addr");
_Static_assert(__builtin_offsetof(struct flow_event, protocol) == 140, "flow_event.protocol");
