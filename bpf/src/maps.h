/*
 * BPF maps of the flow programs: connection table, endpoints, tunnels, fragments, counters, ring.
 */
#pragma once

#include "config.h"
#include "records/counters.h"
#include "records/event.h"
#include "packet/parse.h"

/*
 * The connection table, and an occupancy bitmap of its slots, so that a scan reads only used ones.
 */
BPF_F_TABLE("array", u32, struct connection, flowd_conns, SLOTS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, flowd_used_slots, SLOTS / 64 + 1, BPF_F_MMAPABLE);
BPF_F_TABLE("hash", union address, u32, flowd_endpoints, MAX_ENDPOINTS, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct prefix, u32, flowd_prefixes, MAX_PREFIXES, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", u32, struct tunnel, flowd_tunnels, MAX_TUNNELS, BPF_F_NO_PREALLOC);

/* The connection of a datagram, from its first fragment; `seen` is the jiffies of that. */
struct fragment_target {
	struct connection_key key;
	u32 seen;
	u8 sender;
	u8 family;
	u8 pad[2];
};
BPF_TABLE("lru_hash", struct datagram, struct fragment_target, flowd_fragments, MAX_FRAGMENTED);
BPF_TABLE("percpu_array", u32, struct counters, flowd_counters, 1);
/*
 * Scratch space: the packet, and the one inside its tunnel. The verifier does not track values in a
 * map, unlike on the stack, so it verifies the code after the parser once and not once per packet
 * type.
 */
BPF_TABLE("percpu_array", u32, struct packet, flowd_packet, 2);
BPF_RINGBUF_OUTPUT(flowd_events, RING_BYTES / PAGE_SIZE);
