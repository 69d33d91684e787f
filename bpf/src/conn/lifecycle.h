/* How a connection gets its slot, and makes way for the next one that has its ports. */
#pragma once

#include "conn/table.h"
#include "records/counters.h"
#include "records/event.h"
#include "maps.h"
#include "packet/parse.h"
#include "conn/report.h"

static __always_inline bool finished(u64 marks)
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
	c->place = p->place;
	c->forward = p->reversed ? !p->from : p->from;
	c->family = p->family;
	c->first_ns = bpf_ktime_get_ns();
	c->conn_id = (u64)(bpf_get_smp_processor_id() + 1) << 40 | (counters->count[COUNT_CREATED] + 1);
	c->tunnel = 0;
	c->initiator = (p->flags & SYN) ? INITIATOR_SYN : INITIATOR_FIRST_PACKET;
	c->icmp_type = p->icmp_type;
	c->icmp_code = p->icmp_code;
	c->pad = 0;
	c->endpoint[0] = c->endpoint[1] = 0;
	FORGET();
	c->state = SLOT_HELD;
}

/* Let packets find the connection that was put in the slot, if `known` is still all that they find. */
static __always_inline bool announce(struct packet *p, struct connection *home)
{
	u64 with = (p->known | 1ULL << (p->place & 63)) + CAME;
	u64 was = __sync_val_compare_and_swap(&home->home, p->known, with);

	if (was == p->known)
		return true;
	p->known = was;
	FORGET();
	return false;
}

/* The entry of a new connection, made by this CPU or by one that was first; NULL when full. */
static __always_inline struct connection *create(struct packet *p, struct connection *home, u32 now,
						 struct counters *counters)
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
	if (!announce(p, home)) {
		other = find(p, home);
		if (other || !announce(p, home)) {
			release(c, p->slot, now - REST_TICKS); /* no packet found it */
			return other;
		}
	}
	counters->count[COUNT_CREATED]++;
	return c;
}

/* Where it is, a connection that is over waits until user space takes it; no packet finds it. */
static __always_inline void set_aside(struct connection *c, struct connection *home,
				      struct packet *p)
{
	if (__sync_fetch_and_or(&c->marks, MARK_ENDED) & MARK_ENDED)
		return; /* somebody else takes it out */
	p->known &= ~unlink(c, home);
	c->state = SLOT_ASIDE;
}

/* Whether the packet is the first of another connection than the one that has its ports. */
static __always_inline bool begins_anew(struct connection *c, struct packet *p)
{
	return (p->flags & (SYN | ACK)) == SYN && finished(c->marks);
}

/* Take a connection that is over out of the way. */
static __always_inline void make_way(struct connection *c, struct connection *home,
				     struct packet *p, u32 now, struct counters *counters)
{
	/* For one whose NEW is not out, an END is not enough. */
	if (!(c->marks & MARK_ANNOUNCED) || !report(c, p, REASON_END, MARK_ENDED, now, counters)) {
		set_aside(c, home, p);
		return;
	}
	counters->count[COUNT_ENDED]++;
	p->known &= ~unlink(c, home);
	release(c, place_of(p->home, c->place), now);
}
