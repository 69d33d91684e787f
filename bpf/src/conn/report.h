/*
 * Records.
 *
 * Exactness under several CPUs. A packet adds to the `bytes` and `packets` of its side atomically.
 * A record takes them out with an atomic exchange by zero and adds what it took to the totals, so a
 * byte is in exactly one record whoever writes them at the same time. The space in the ring is
 * reserved before anything is taken: when the ring is full nothing is, and the next record, or user
 * space when it removes the entry, brings it.
 */
#pragma once

#include "config.h"
#include "records/counters.h"
#include "records/event.h"
#include "maps.h"
#include "packet/parse.h"

static __always_inline u32 endpoint_of(union address *address)
{
	u32 *index = flowd_endpoints.lookup(address);

	return index ? *index : 0;
}

/* Who the network that an address is in belongs to, whatever the address itself is found to be later. */
static __always_inline u32 network_of(union address *address)
{
	struct prefix whole = { .bits = 128, .address = *address };
	u32 *index = flowd_prefixes.lookup(&whole);

	return index ? *index : 0;
}

static __always_inline void take(struct side *side, struct flow_event *event, const u32 way)
{
	u64 bytes = __sync_lock_test_and_set(&side->bytes, 0);
	u64 packets = __sync_lock_test_and_set(&side->packets, 0);

	event->bytes[way] = bytes;
	event->packets[way] = packets;
	event->total_bytes[way] = __sync_fetch_and_add(&side->total_bytes, bytes) + bytes;
	event->total_packets[way] = __sync_fetch_and_add(&side->total_packets, packets) + packets;
}

/*
 * Write a record; `marks` are set once there is space for it, and one that carries nothing new, as
 * another CPU was first, is dropped. Returns whether this CPU set the marks.
 */
static __always_inline bool report(struct connection *c, struct packet *p, u32 reason, u64 marks,
				   u32 now, struct counters *counters)
{
	struct connection_key *key = &p->key;
	u32 forward = c->forward & 1, from = reason == REASON_END ? forward : p->from & 1;
	struct flow_event *event;
	u64 before, owner;
	bool at_once;

	if (p->ring_full == now)
		return false;
	event = flowd_events.ringbuf_reserve(sizeof(*event));
	if (!event) {
		p->ring_full = now;
		counters->count[COUNT_RING_FULL]++;
		return false;
	}
	before = marks ? __sync_fetch_and_or(&c->marks, marks) : c->marks;
	if (marks && (before & marks) == marks) {
		flowd_events.ringbuf_discard(event, BPF_RB_NO_WAKEUP);
		return false;
	}
	if (reason == REASON_NEW && (before & MARK_ANNOUNCED))
		reason = REASON_FLAGS;
	at_once = reason == REASON_NEW && c->reported == now;
	c->reported = now;

	if (!c->endpoint[0])
		c->endpoint[0] = endpoint_of(&key->addr[0]);
	if (!c->endpoint[1])
		c->endpoint[1] = endpoint_of(&key->addr[1]);

	event->time_ns = at_once ? c->first_ns : bpf_ktime_get_ns();
	event->first_ns = c->first_ns;
	event->conn_id = c->conn_id;
	take(&c->side[forward], event, 0);
	take(&c->side[!forward], event, 1);
	__builtin_memcpy(event->src_addr, &key->addr[forward], 16);
	__builtin_memcpy(event->dst_addr, &key->addr[!forward], 16);
	event->src_endpoint = c->endpoint[forward] ?: network_of(&key->addr[forward]);
	event->dst_endpoint = c->endpoint[!forward] ?: network_of(&key->addr[!forward]);
	event->src_port = NET16(key->port[forward]);
	event->dst_port = NET16(key->port[!forward]);
	event->flags_seen[0] = before >> MARK_SEEN(forward);
	event->flags_seen[1] = before >> MARK_SEEN(!forward);
	owner = c->side[from].owner;
	event->ifindex = owner >> 1;
	event->hook = owner & 1;
	event->tunnel = c->tunnel;
	event->protocol = key->protocol;
	event->family = c->family;
	event->reason = reason;
	event->is_reply = from != forward;
	event->initiator = c->initiator;
	event->flags = reason == REASON_END ? 0 : p->flags;
	event->icmp_type = reason == REASON_END ? c->icmp_type : p->icmp_type;
	event->icmp_code = reason == REASON_END ? c->icmp_code : p->icmp_code;
	__builtin_memset(event->pad, 0, sizeof(event->pad));

	if (++counters->count[COUNT_RECORDS] % WAKE_RECORDS)
		flowd_events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	else
		flowd_events.ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
	return true;
}
