/*
 * Connection lifecycle: create an entry in the table, detect tuple reuse by a new TCP connection,
 * and evict or detach the closed entry that the new one replaces.
 */
#pragma once

#include "conn/table.h"
#include "records/counters.h"
#include "records/event.h"
#include "maps.h"
#include "packet/parse.h"
#include "conn/report.h"

/* TCP is closed after RST from either side, or FIN from both. */
static __always_inline bool is_closed(u64 marks)
{
	u8 a = marks >> MARK_SEEN(0), b = marks >> MARK_SEEN(1);

	return ((a | b) & RST) || (a & b & FIN);
}

static __always_inline void fill(struct connection *c, struct packet *p, u32 now,
				 struct counters *counters)
{
	__builtin_memset(&c->side, 0, sizeof(c->side));
	c->key = p->key;
	c->marks = 0;
	c->reported = now;
	c->probe = p->probe;
	c->forward = p->is_answer ? !p->sender : p->sender;
	c->family = p->family;
	c->first_ns = bpf_ktime_get_ns();
	c->conn_id = (u64)(bpf_get_smp_processor_id() + 1) << 40 | (counters->count[COUNT_CREATED] + 1);
	c->tunnel = 0;
	c->initiator = (p->flags & SYN) ? INITIATOR_SYN : INITIATOR_FIRST_PACKET;
	c->icmp_type = p->icmp_type;
	c->icmp_code = p->icmp_code;
	c->pad = 0;
	c->endpoint[0] = c->endpoint[1] = 0;
	barrier();
	c->state = SLOT_USED;
}

/*
 * Set the bit of the claimed slot in its bucket, if p->bucket_bits is still the bucket's word.
 * Otherwise p->bucket_bits becomes the word that was found, and nothing changes.
 */
static __always_inline bool publish(struct packet *p, struct connection *bucket)
{
	u64 with = (p->bucket_bits | 1ULL << (p->probe & 63)) + BUCKET_GENERATION;
	u64 was = __sync_val_compare_and_swap(&bucket->bucket_bits, p->bucket_bits, with);

	if (was == p->bucket_bits)
		return true;
	p->bucket_bits = was;
	barrier();
	return false;
}

/*
 * The entry of a new connection, from this CPU or one that was faster; NULL when there is no slot.
 */
static __always_inline struct connection *create(struct packet *p, struct connection *bucket,
						 u32 now, struct counters *counters)
{
	struct connection *c, *other;

	if (p->table_full == now)
		return NULL;
	c = claim(p, now);
	if (!c) {
		p->table_full = now;
		return NULL;
	}
	fill(c, p, now, counters);
	if (!publish(p, bucket)) {
		other = find(p, bucket);
		if (other || !publish(p, bucket)) {
			/* No lookup found the slot, so it needs no grace period. */
			release(c, p->slot, now - GRACE_TICKS);
			return other;
		}
	}
	counters->count[COUNT_CREATED]++;
	return c;
}

/* Unlink a closed connection and leave it in its slot for user space to evict. */
static __always_inline void detach(struct connection *c, struct connection *bucket,
				   struct packet *p)
{
	if (__sync_fetch_and_or(&c->marks, MARK_ENDED) & MARK_ENDED)
		return; /* another CPU or user space is removing it */
	p->bucket_bits &= ~unlink(c, bucket);
	c->state = SLOT_DETACHED;
}

/* Whether the packet opens a new connection with the tuple of a closed one. */
static __always_inline bool is_tuple_reuse(struct connection *c, struct packet *p)
{
	return (p->flags & (SYN | ACK)) == SYN && is_closed(c->marks);
}

/* Report the end of a closed connection and free its slot, or else detach it. */
static __always_inline void evict_closed(struct connection *c, struct connection *bucket,
					 struct packet *p, u32 now, struct counters *counters)
{
	/* A connection whose NEW record is not out needs two records; user space writes both. */
	if (!(c->marks & MARK_ANNOUNCED) || !report(c, p, REASON_END, MARK_ENDED, now, counters)) {
		detach(c, bucket, p);
		return;
	}
	counters->count[COUNT_ENDED]++;
	p->bucket_bits &= ~unlink(c, bucket);
	release(c, probe_slot(p->bucket, c->probe), now);
}
