/* IP fragments: give later fragments, which have no ports, the connection of their first one. */
#pragma once

#include "maps.h"
#include "packet/parse.h"

/* Store the connection of a first fragment, or look it up for a later one. */
static __always_inline void track_fragment(struct packet *p, u32 now, struct counters *counters)
{
	struct fragment_target *known, first = {};

	if (p->fragment == FIRST_FRAGMENT) {
		first.key = p->key;
		first.sender = p->sender;
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
	p->sender = known->sender & 1;
	p->family = known->family;
}
