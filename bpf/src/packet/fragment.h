/* Later fragments have no ports: they go where the first of their datagram went. */
#pragma once

#include "maps.h"
#include "packet/parse.h"

/* Remember a first fragment's connection, or take it for a later one. */
static __always_inline void follow_fragment(struct packet *p, u32 now, struct counters *counters)
{
	struct destination *known, first = {};

	if (p->fragment == FIRST) {
		first.key = p->key;
		first.from = p->from;
		first.family = p->family;
		first.seen = now;
		flowd_fragments.update(&p->datagram, &first);
		return;
	}
	known = flowd_fragments.lookup(&p->datagram);
	if (!known || now - known->seen > FRAGMENT_TICKS) {
		counters->count[COUNT_FRAGMENT_UNKNOWN]++;
		return;
	}
	p->key = known->key;
	p->from = known->from & 1;
	p->family = known->family;
}
