/*
 * Packets in packets: VXLAN, Geneve, and IP in IP of any two versions (RFC 2003, 4213, 2473). What is
 * inside is the connection, and the tunnel is remembered with it. One layer is taken off.
 */
#pragma once

#include "maps.h"
#include "packet/parse.h"

/* The packet inside `p`, in place of `p`, which is left as it was when there is none to be read. */
static __always_inline enum parsed unwrap(struct __sk_buff *skb, struct packet *p)
{
	u32 at = p->headers & OFFSET, one = 1;
	struct packet *inner = flowd_packet.lookup(&one);
	struct overlay *overlay = (void *)(long)skb->data + at;
	__be16 type = p->protocol == IPV4_INSIDE ? NET16(TYPE_IPV4) : NET16(TYPE_IPV6);
	enum parsed parsed;
	u8 kind = p->inside;

	if (!inner)
		return BROKEN;
	inner->tunnel.vni = 0;
	if (kind != TUNNEL_IP) {
		if ((void *)(overlay + 1) > (void *)(long)skb->data_end)
			return CUT_SHORT;
		inner->tunnel.vni = NET32(overlay->vni) >> 8;
		at += sizeof(*overlay);
		type = NET16(TYPE_BRIDGED);
		if (kind == TUNNEL_GENEVE) {
			if (overlay->geneve_version >> 6)
				return BROKEN;
			at += (overlay->geneve_version & 63) * 4;
			type = overlay->type;
		} else if (!(overlay->vxlan_flags & VXLAN_VALID)) {
			return BROKEN;
		}
	}
	inner->headers = at;
	FORGET();
	at = inner->headers & OFFSET;
	if (type == NET16(TYPE_BRIDGED)) {
		parsed = read_link(skb, &at, &type);
		if (parsed != PARSED)
			return parsed;
	}
	inner->headers = at;
	FORGET();
	at = inner->headers & OFFSET;
	parsed = read_network(skb, at, type, inner);
	if (parsed != PARSED)
		return parsed;
	FORGET();
	if (inner->headers > OFFSET)
		return BROKEN;
	parsed = read_transport(skb, inner);
	if (parsed != PARSED)
		return parsed;
	FORGET();
	inner->tunnel.src = p->src;
	inner->tunnel.dst = p->dst;
	inner->tunnel.kind = kind;
	if (!inner->fragment) {
		inner->fragment = p->fragment;
		inner->datagram = p->datagram;
	} else {
		inner->datagram.src = inner->src;
		inner->datagram.dst = inner->dst;
	}
	__builtin_memcpy(p, inner, __builtin_offsetof(struct packet, last));
	return PARSED;
}

/*
 * All of `p`. The first time, `last` not being set, a packet inside that is cut short makes the whole
 * so; the last time the tunnel's packet is the connection's.
 */
static __always_inline enum parsed read_packet(struct __sk_buff *skb, const u32 l2, bool last,
					       struct packet *p)
{
	__be16 type = skb->protocol;
	enum parsed parsed;
	u32 at = 0;

	p->tunnel.kind = 0;
	if (l2) {
		parsed = read_link(skb, &at, &type);
		if (parsed != PARSED)
			return parsed;
	}
	parsed = read_network(skb, at, type, p);
	if (parsed != PARSED)
		return parsed;
	FORGET();
	parsed = read_transport(skb, p);
	if (parsed != PARSED)
		return parsed;
	FORGET();
	if (p->fragment) {
		p->datagram.src = p->src;
		p->datagram.dst = p->dst;
	}
	if (p->inside && unwrap(skb, p) == CUT_SHORT && !last)
		return CUT_SHORT;
	FORGET();
	order(p);
	return PARSED;
}

/* The number under which user space finds a tunnel; TUNNEL_UNNAMED when it cannot have one. */
static __always_inline u32 name_tunnel(struct tunnel *tunnel, struct counters *counters)
{
	struct tunnel *known;
	u32 id = tunnel->kind;

	id = mix(id, tunnel->vni);
#pragma clang loop unroll(full)
	for (u32 i = 0; i < 4; i++) {
		id = mix(id, tunnel->src.word[i]);
		id = mix(id, tunnel->dst.word[i]);
	}
	if (id <= TUNNEL_UNNAMED)
		id = TUNNEL_UNNAMED + 1;
	known = flowd_tunnels.lookup(&id);
	if (!known) {
		flowd_tunnels.insert(&id, tunnel);
		known = flowd_tunnels.lookup(&id);
	}
	if (known && known->src.half[0] == tunnel->src.half[0] &&
	    known->src.half[1] == tunnel->src.half[1] &&
	    known->dst.half[0] == tunnel->dst.half[0] &&
	    known->dst.half[1] == tunnel->dst.half[1] && known->vni == tunnel->vni &&
	    known->kind == tunnel->kind)
		return id;
	counters->count[COUNT_TUNNEL_UNNAMED]++;
	return TUNNEL_UNNAMED;
}

/* Remember the tunnel of a connection, as its initiator's packets have it. */
static __always_inline void note_tunnel(struct connection *c, struct packet *p,
					struct counters *counters)
{
	if (p->from != c->forward) {
		union address src = p->tunnel.src;

		p->tunnel.src = p->tunnel.dst;
		p->tunnel.dst = src;
	}
	c->tunnel = name_tunnel(&p->tunnel, counters);
}
