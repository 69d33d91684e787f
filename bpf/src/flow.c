/*
 * Connections from tc: one slot of the table each, counted at the first interface that saw each
 * direction, reported by fixed-size records. The programs let every packet pass to whoever comes next.
 */
#include <uapi/linux/bpf.h>

#include "budget.h"
#include "config.h"
#include "conn/table.h"
#include "records/counters.h"
#include "dns.h"
#include "records/event.h"
#include "filter.h"
#include "packet/fragment.h"
#include "conn/lifecycle.h"
#include "maps.h"
#include "packet/parse.h"
#include "conn/report.h"
#include "conn/evict.h"
#include "packet/tunnel.h"

#define PASS (-1) /* TCX_NEXT and TC_ACT_UNSPEC */
#define PULL 512  /* bytes made linear for headers that are not */

/* include/linux/skbuff.h: each packet of the list is a segment, and must stay one (SCTP) */
#define GSO_BY_FRAGS 0xffff

/* Whether this interface and hook count the side's packets: the first that saw one, while it does. */
static __always_inline bool owns(struct side *side, u64 here, u32 now)
{
	u64 owner = side->owner, was;

	if (owner == here)
		return true;
	if (owner && now - side->seen < SILENT_TICKS)
		return false;
	was = __sync_val_compare_and_swap(&side->owner, owner, here);
	return was == owner || was == here;
}

static __always_inline void count_packet(struct __sk_buff *skb, struct side *side, u32 headers,
					 u32 now)
{
	u64 segments = skb->gso_segs, tag = skb->vlan_present ? TAG : 0;

	if (!segments && skb->gso_size && skb->len > headers)
		segments = (skb->len - headers + skb->gso_size - 1) / skb->gso_size;
	if (!segments)
		segments = 1;
	if (side->seen != now)
		side->seen = now;
	__sync_fetch_and_add(&side->bytes, skb->len + tag + (segments - 1) * (headers + tag));
	__sync_fetch_and_add(&side->packets, segments);
}

/*
 * Most packets come to a second interface right after the first, on the same CPU. Whoever counted one
 * of this side within this jiffy owns the side, so the table need not be asked; but it is where the
 * tunnel is noted.
 */
static __always_inline bool counted_before(struct packet *p, u64 here, u32 now)
{
	return same_key(&p->last.key, &p->key) && p->last.from == p->from && p->last.now == now &&
	       p->last.here != here && !p->tunnel.kind;
}

static __always_inline int flow(struct __sk_buff *skb, const u32 hook, const u32 l2)
{
	struct counters *counters;
	struct connection *c, *home;
	struct packet *p;
	struct side *side;
	enum parsed parsed = BROKEN;
	u64 here, marks, wanted = 0;
	u32 zero = 0, reason = 0, from, now;

	counters = flowd_counters.lookup(&zero);
	p = flowd_packet.lookup(&zero);
	if (!counters || !p)
		return PASS;
	counters->count[COUNT_SEEN]++;

#pragma clang loop unroll(disable)
	for (u32 attempt = 0; attempt < 2; attempt++) {
		parsed = read_packet(skb, l2, attempt, p);
		if (parsed != CUT_SHORT || attempt || skb->gso_size == GSO_BY_FRAGS)
			break;
		if (bpf_skb_pull_data(skb, skb->len < PULL ? skb->len : PULL))
			break;
	}
	if (parsed != PARSED) {
		counters->count[parsed == NOT_IP ? COUNT_NON_IP : COUNT_MALFORMED]++;
		return PASS;
	}

	now = bpf_jiffies64();
	if (p->fragment)
		follow_fragment(p, now, counters);
	here = (u64)skb->ifindex << 1 | hook;
	if (counted_before(p, here, now)) {
		counters->count[COUNT_ELSEWHERE]++;
		return PASS;
	}
	p->home = home_of(&p->key);
	home = flowd_conns.lookup(&p->home);
	if (!home)
		return PASS;
	p->known = home->home;
	FORGET();
	c = find(p, home);
	if (c && begins_anew(c, p)) {
		make_way(c, home, p, now, counters);
		c = NULL;
	}
	if (!c) {
		if (!chosen(p, counters))
			return PASS;
		c = create(p, home, now, counters);
	}
	if (!c) {
		counters->count[COUNT_MAP_FULL]++;
		return PASS;
	}

	if (p->tunnel.kind && !c->tunnel)
		note_tunnel(c, p, counters);
	from = p->from & 1;
	side = &c->side[from];
	if (!owns(side, here, now)) {
		counters->count[COUNT_ELSEWHERE]++;
		return PASS;
	}
	counters->count[COUNT_COUNTED]++;
	p->last = (struct counted){ .key = p->key, .here = here, .from = from, .now = now };
	count_packet(skb, side, p->headers, now);
	read_dns(skb, p, c->conn_id, hook, counters);

	marks = c->marks;
	if (p->flags & ~(marks >> MARK_REPORTED(from))) {
		u64 seen = (u64)p->flags << MARK_SEEN(from);

		if ((marks & seen) != seen)
			__sync_fetch_and_or(&c->marks, seen);
		wanted = seen << 16;
		reason = REASON_FLAGS;
	}
	if (!(marks & MARK_ANNOUNCED)) {
		wanted |= MARK_ANNOUNCED;
		reason = REASON_NEW;
	} else if (now - c->reported >= ACTIVE_TICKS) {
		reason = reason ?: REASON_ACTIVE;
	} else if (reason && !affordable(now)) {
		reason = 0;
	}
	if (reason)
		report(c, p, reason, wanted, now, counters);
	return PASS;
}

int flowd_in(struct __sk_buff *skb)
{
	return flow(skb, HOOK_INGRESS, ETHERNET);
}

int flowd_out(struct __sk_buff *skb)
{
	return flow(skb, HOOK_EGRESS, ETHERNET);
}

int flowd_in_raw(struct __sk_buff *skb)
{
	return flow(skb, HOOK_INGRESS, 0);
}

int flowd_out_raw(struct __sk_buff *skb)
{
	return flow(skb, HOOK_EGRESS, 0);
}

/* Run by user space, never attached: the clock that `seen` is read from. */
int flowd_clock(struct __sk_buff *skb)
{
	return (u32)bpf_jiffies64();
}
