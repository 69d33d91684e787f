/* The maps, and counting. */
#pragma once

#include "config.h"
#include "records/counters.h"
#include "records/event.h"
#include "packet/parse.h"

/* The table, and a bit for each of its slots that is in use, so that nobody looks through all of it. */
BPF_F_TABLE("array", u32, struct connection, flowd_conns, SLOTS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, flowd_held, SLOTS / 64 + 1, BPF_F_MMAPABLE);
BPF_F_TABLE("hash", union address, u32, flowd_endpoints, MAX_ENDPOINTS, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct prefix, u32, flowd_prefixes, MAX_PREFIXES, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", u32, struct tunnel, flowd_tunnels, MAX_TUNNELS, BPF_F_NO_PREALLOC);

/* Where the later fragments of a datagram go; jiffies of the first. */
struct destination {
	struct connection_key key;
	u32 seen;
	u8 from;
	u8 family;
	u8 pad[2];
};
BPF_TABLE("lru_hash", struct datagram, struct destination, flowd_fragments, MAX_FRAGMENTED);
BPF_TABLE("percpu_array", u32, struct counters, flowd_counters, 1);
/*
 * The packet at hand, and the one inside it. Here and not on the stack, the verifier forgets how its fields came about, so
 * what follows the parsing is verified once instead of once for each kind of packet.
 */
BPF_TABLE("percpu_array", u32, struct packet, flowd_packet, 2);
BPF_RINGBUF_OUTPUT(flowd_events, RING_BYTES / PAGE_SIZE);
