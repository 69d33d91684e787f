/*
 * Decapsulate tunnels: VXLAN (RFC 7348), Geneve (RFC 8926), and IP in IP of any two versions (RFC
 * 2003, 4213, 2473). The inner packet is the connection's, and the connection keeps the tunnel's
 * id. Only the outermost layer is removed.
 */
#pragma once

#include "maps.h"
#include "packet/parse.h"

/* Replace `p` by the packet inside it. On any result but PARSED `p` is unchanged. */
static __always_inline enum parsed decapsulate(struct __sk_buff *skb, struct packet *p)
{
	u32 at = p->header_bytes & OFFSET_MASK, one = 1;
	struct packet *inner = flowd_packet.lookup(&one);
	struct overlay *overlay = (void *)(long)skb->data + at;
	__be16 type = p->protocol == IPIP ? NET16(ETH_P_IP) : NET16(ETH_P_IPV6);
	enum parsed parsed;
	u8 kind = p->encap;

	if (!inner)
		return BAD_HEADER;
	inner->tunnel.vni = 0;
	if (kind != TUNNEL_IP) {
		if ((void *)(overlay + 1) > (void *)(long)skb->data_end)
			return TRUNCATED;
		inner->tunnel.vni = NET32(overlay->vni) >> 8;
		at += sizeof(*overlay);
		type = NET16(ETH_P_TEB);
		if (kind == TUNNEL_GENEVE) {
			if (overlay->geneve_version >> 6)
				return BAD_HEADER;
			at += (overlay->geneve_version & 63) * 4;
			type = overlay->type;
		} else if (!(overlay->vxlan_flags & VXLAN_VALID)) {
			return BAD_HEADER;
		}
	}
	inner->header_bytes = at;
	barrier();
	at = inner->header_bytes & OFFSET_MASK;
	if (type == NET16(ETH_P_TEB)) {
		parsed = read_link(skb, &at, &type);
		if (parsed != PARSED)
			return parsed;
	}
	inner->header_bytes = at;
	barrier();
	at = inner->header_bytes & OFFSET_MASK;
	parsed = read_network(skb, at, type, inner);
	if (parsed != PARSED)
		return parsed;
	barrier();
	if (inner->header_bytes > OFFSET_MASK)
		return BAD_HEADER;
	parsed = read_transport(skb, inner);
	if (parsed != PARSED)
		return parsed;
	barrier();
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
 * Parse a packet and the one in its tunnel into `p`. A truncated inner packet gives TRUNCATED, so
 * that the caller can linearize and retry; on the `last` attempt the outer packet is the result
 * instead.
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
	barrier();
	parsed = read_transport(skb, p);
	if (parsed != PARSED)
		return parsed;
	barrier();
	if (p->fragment) {
		p->datagram.src = p->src;
		p->datagram.dst = p->dst;
	}
	if (p->encap && decapsulate(skb, p) == TRUNCATED && !last)
		return TRUNCATED;
	barrier();
	canonicalize_key(p);
	return PARSED;
}

/*
 * Key of the tunnel in flowd_tunnels, a hash; TUNNEL_UNNAMED on a collision or when the map is
 * full.
 */
static __always_inline u32 tunnel_id(struct tunnel *tunnel, struct counters *counters)
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

/* Keep a connection's tunnel, with the outer addresses in the initiator's direction. */
static __always_inline void record_tunnel(struct connection *c, struct packet *p,
					struct counters *counters)
{
	if (p->sender != c->forward) {
		union address src = p->tunnel.src;

		p->tunnel.src = p->tunnel.dst;
		p->tunnel.dst = src;
	}
	c->tunnel = tunnel_id(&p->tunnel, counters);
}
