/*
 * Count a packet's bytes and packets on its connection, at one interface and hook only.
 *
 * A packet passes several interfaces on its way. Each direction of a connection is counted at the
 * first interface and hook that saw it; the others count COUNT_DUPLICATE. Bytes are those on the
 * wire: a segmentation-offload packet counts once for each of its segments, with headers.
 */
#pragma once

#include "config.h"
#include "records/event.h"
#include "conn/table.h"
#include "packet/parse.h"

/*
 * Whether this interface and hook (ifindex << 1 | hook) count the side's packets. The first that
 * sees one does, until it has seen none for TAKEOVER_TICKS.
 */
static __always_inline bool is_counting_interface(struct side *side, u64 this_if, u32 now)
{
	u64 counting = side->counting_if, before;

	if (counting == this_if)
		return true;
	if (counting && now - side->seen < TAKEOVER_TICKS)
		return false;
	before = __sync_val_compare_and_swap(&side->counting_if, counting, this_if);
	return before == counting || before == this_if;
}

static __always_inline void count_packet(struct __sk_buff *skb, struct side *side, u32 header_bytes,
					 u32 now)
{
	u64 segments = skb->gso_segs, tag = skb->vlan_present ? VLAN_HLEN : 0;

	if (!segments && skb->gso_size && skb->len > header_bytes)
		segments = (skb->len - header_bytes + skb->gso_size - 1) / skb->gso_size;
	if (!segments)
		segments = 1;
	if (side->seen != now)
		side->seen = now;
	__sync_fetch_and_add(&side->bytes, skb->len + tag + (segments - 1) * (header_bytes + tag));
	__sync_fetch_and_add(&side->packets, segments);
}

/*
 * Whether another interface counted a packet of this side on this CPU within this jiffy. That
 * interface then counts the side, so the table lookup is skipped: most packets reach their second
 * interface right after the first. A tunnelled packet is looked up, since the table keeps its
 * tunnel.
 */
static __always_inline bool already_counted(struct packet *p, u64 this_if, u32 now)
{
	return same_key(&p->last.key, &p->key) && p->last.sender == p->sender &&
	       p->last.now == now && p->last.this_if != this_if && !p->tunnel.kind;
}
