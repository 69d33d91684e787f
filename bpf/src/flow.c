/*
 * tc programs on interfaces: parse a packet, find or create its connection, count it, and write a
 * record when one is due. Every packet passes on to the next program.
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
#include "conn/count_packet.h"
#include "maps.h"
#include "packet/parse.h"
#include "conn/report.h"
#include "conn/evict.h"
#include "packet/tunnel.h"

#define PASS (-1)      /* TCX_NEXT and TC_ACT_UNSPEC */
#define PULL_BYTES 512 /* made linear when the headers are not */

/* include/linux/skbuff.h: each packet of the list is a segment and must stay one (SCTP). */
#define GSO_BY_FRAGS 0xffff

/* Parse the packet; if its headers are not in the buffer's linear part, pull them and retry. */
static __always_inline enum parsed read_headers(struct __sk_buff *skb, const u32 l2,
						struct packet *p)
{
	enum parsed parsed = BAD_HEADER;

#pragma clang loop unroll(disable)
	for (u32 attempt = 0; attempt < 2; attempt++) {
		parsed = read_packet(skb, l2, attempt, p);
		if (parsed != TRUNCATED || attempt || skb->gso_size == GSO_BY_FRAGS)
			break;
		if (bpf_skb_pull_data(skb, skb->len < PULL_BYTES ? skb->len : PULL_BYTES))
			break;
	}
	return parsed;
}

/* Write a record when flags are new, the connection has no record yet, or the interval is over. */
static __always_inline void report_if_due(struct connection *c, struct packet *p, u32 sender,
					  u32 now, struct counters *counters)
{
	u64 marks = c->marks, wanted = 0;
	u32 reason = 0;

	if (p->flags & ~(marks >> MARK_REPORTED(sender))) {
		u64 seen = (u64)p->flags << MARK_SEEN(sender);

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
	} else if (reason && !within_rate(now)) {
		reason = 0;
	}
	if (reason)
		report(c, p, reason, wanted, now, counters);
}

/* Count the packet on its connection, unless another interface does, and write the records due. */
static __always_inline void count_and_report(struct __sk_buff *skb, struct connection *c,
					     struct packet *p, u64 this_if, u32 now,
					     struct counters *counters)
{
	u32 sender;
	struct side *side;

	if (p->tunnel.kind && !c->tunnel)
		record_tunnel(c, p, counters);
	sender = p->sender & 1;
	side = &c->side[sender];
	if (!is_counting_interface(side, this_if, now)) {
		counters->count[COUNT_DUPLICATE]++;
		return;
	}
	counters->count[COUNT_COUNTED]++;
	p->last = (struct last_counted){
		.key = p->key, .this_if = this_if, .sender = sender, .now = now
	};
	count_packet(skb, side, p->header_bytes, now);
	read_dns(skb, p, c->conn_id, this_if & 1, counters);
	report_if_due(c, p, sender, now, counters);
}

static __always_inline int flow(struct __sk_buff *skb, const u32 hook, const u32 l2)
{
	struct counters *counters;
	struct connection *c, *bucket;
	struct packet *p;
	enum parsed parsed;
	u64 this_if;
	u32 zero = 0, now;

	counters = flowd_counters.lookup(&zero);
	p = flowd_packet.lookup(&zero);
	if (!counters || !p)
		return PASS;
	counters->count[COUNT_SEEN]++;

	parsed = read_headers(skb, l2, p);
	if (parsed != PARSED) {
		counters->count[parsed == NOT_IP ? COUNT_NON_IP : COUNT_MALFORMED]++;
		return PASS;
	}

	now = bpf_jiffies64();
	if (p->fragment)
		track_fragment(p, now, counters);
	this_if = (u64)skb->ifindex << 1 | hook;
	if (already_counted(p, this_if, now)) {
		counters->count[COUNT_DUPLICATE]++;
		return PASS;
	}
	p->bucket = bucket_of(&p->key);
	bucket = flowd_conns.lookup(&p->bucket);
	if (!bucket)
		return PASS;
	p->bucket_bits = bucket->bucket_bits;
	barrier();
	c = find(p, bucket);
	if (c && is_tuple_reuse(c, p)) {
		evict_closed(c, bucket, p, now, counters);
		c = NULL;
	}
	if (!c) {
		if (!passes_filter(p, counters))
			return PASS;
		c = create(p, bucket, now, counters);
	}
	if (!c) {
		counters->count[COUNT_MAP_FULL]++;
		return PASS;
	}

	count_and_report(skb, c, p, this_if, now, counters);
	return PASS;
}

int flowd_in(struct __sk_buff *skb)
{
	return flow(skb, HOOK_INGRESS, ETH_HLEN);
}

int flowd_out(struct __sk_buff *skb)
{
	return flow(skb, HOOK_EGRESS, ETH_HLEN);
}

int flowd_in_raw(struct __sk_buff *skb)
{
	return flow(skb, HOOK_INGRESS, 0);
}

int flowd_out_raw(struct __sk_buff *skb)
{
	return flow(skb, HOOK_EGRESS, 0);
}

/*
 * Run by user space, never attached: returns the jiffies that `seen` and `reported` are set from.
 */
int flowd_clock(struct __sk_buff *skb)
{
	return (u32)bpf_jiffies64();
}
