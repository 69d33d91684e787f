/*
 * Write flow records (struct flow_event) of a connection into the ring flowd_events.
 *
 * Exactness under several CPUs: a packet adds to `bytes` and `packets` of its side atomically. A
 * record exchanges them with zero atomically and adds the old values to the totals, so each byte is
 * in exactly one record, however many CPUs write one. Ring space is reserved first: when the ring
 * is full the counts stay, and the next record carries them, or user space when it evicts the
 * entry.
 */
#pragma once

#include "config.h"
#include "records/counters.h"
#include "records/event.h"
#include "maps.h"
#include "packet/parse.h"

/* Endpoint index of an address, 0 for none. */
static __always_inline u32 address_endpoint(union address *address)
{
	u32 *index = flowd_endpoints.lookup(address);

	return index ? *index : 0;
}

/*
 * Endpoint index of the longest prefix that has the address, 0 for none; not kept in the
 * connection.
 */
static __always_inline u32 prefix_endpoint(union address *address)
{
	struct prefix whole = { .bits = 128, .address = *address };
	u32 *index = flowd_prefixes.lookup(&whole);

	return index ? *index : 0;
}

/* Move the counts of a side into the record, and add them to its totals. */
static __always_inline void drain_side(struct side *side, struct flow_event *event,
				       const u32 direction)
{
	u64 bytes = __sync_lock_test_and_set(&side->bytes, 0);
	u64 packets = __sync_lock_test_and_set(&side->packets, 0);

	event->bytes[direction] = bytes;
	event->packets[direction] = packets;
	event->total_bytes[direction] = __sync_fetch_and_add(&side->total_bytes, bytes) + bytes;
	event->total_packets[direction] =
		__sync_fetch_and_add(&side->total_packets, packets) + packets;
}

/*
 * Write a record and set `marks`, if the ring has space. A record whose marks another CPU has set
 * is discarded, since that CPU wrote it. Returns whether this CPU set the marks.
 */
static __always_inline bool report(struct connection *c, struct packet *p, u32 reason, u64 marks,
				   u32 now, struct counters *counters)
{
	struct connection_key *key = &p->key;
	u32 forward = c->forward & 1, sender = reason == REASON_END ? forward : p->sender & 1;
	struct flow_event *event;
	u64 before, counting_if;
	bool first_packet;

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
	first_packet = reason == REASON_NEW && c->reported == now;
	c->reported = now;

	if (!c->endpoint[0])
		c->endpoint[0] = address_endpoint(&key->addr[0]);
	if (!c->endpoint[1])
		c->endpoint[1] = address_endpoint(&key->addr[1]);

	event->time_ns = first_packet ? c->first_ns : bpf_ktime_get_ns();
	event->first_ns = c->first_ns;
	event->conn_id = c->conn_id;
	drain_side(&c->side[forward], event, 0);
	drain_side(&c->side[!forward], event, 1);
	__builtin_memcpy(event->src_addr, &key->addr[forward], 16);
	__builtin_memcpy(event->dst_addr, &key->addr[!forward], 16);
	event->src_endpoint = c->endpoint[forward] ?: prefix_endpoint(&key->addr[forward]);
	event->dst_endpoint = c->endpoint[!forward] ?: prefix_endpoint(&key->addr[!forward]);
	event->src_port = NET16(key->port[forward]);
	event->dst_port = NET16(key->port[!forward]);
	event->flags_seen[0] = before >> MARK_SEEN(forward);
	event->flags_seen[1] = before >> MARK_SEEN(!forward);
	counting_if = c->side[sender].counting_if;
	event->ifindex = counting_if >> 1;
	event->hook = counting_if & 1;
	event->tunnel = c->tunnel;
	event->protocol = key->protocol;
	event->family = c->family;
	event->reason = reason;
	event->is_reply = sender != forward;
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
