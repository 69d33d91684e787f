/*
 * From packet to key: Ethernet with up to two VLAN tags (IEEE 802.1Q), or no link header; IPv4 with
 * options (RFC 791), IPv6 with extension headers (RFC 8200), in both an authentication header (RFC
 * 4302); ports, TCP flags, what an SCTP chunk has of them, ICMP type, code and echo identifier.
 */
#pragma once

#include "config.h"
#include "records/counters.h"
#include "records/event.h"
#include "packet/wire.h"

/* Headers that do not hide what follows, as far as their numbers go, and how many are followed. */
#define EXTENSION_SET                                                                             \
	(1ULL << HOP_BY_HOP | 1ULL << ROUTING | 1ULL << FRAGMENT | 1ULL << AUTHENTICATION |        \
	 1ULL << DESTINATION)
#define EXTENSIONS 6
#define OFFSET 0x3fff /* bounds an offset for the verifier; headers within headers can reach more */

enum fragment_place {
	WHOLE,
	FIRST,
	LATER,
};

/* What the fragments of a datagram have in common. */
struct datagram {
	union address src;
	union address dst;
	__u32 id;
	__u32 protocol;
};

/* The last packet that this CPU counted, and where. */
struct counted {
	struct connection_key key;
	u64 here;
	u32 from;
	u32 now;
};

/* The packet at hand, in a map: see flowd_packet. */
struct packet {
	struct connection_key key;
	union address src;
	union address dst;
	struct datagram datagram; /* only of a fragment */
	struct tunnel tunnel;	  /* only of a packet that came in one */
	u32 from;		  /* side that sent it */
	u32 headers;		  /* bytes up to the payload; every segment of a GSO packet has them */
	__be16 src_port;
	__be16 dst_port;
#ifdef DNS_PORT
	u32 end; /* bytes up to the end of the IP packet; 0 where its header does not tell */
	u32 seq; /* of TCP, host byte order */
#endif
	u8 fragment;
	bool reversed; /* an answer by its kind, whether or not the question was seen */
	u8 inside;     /* the tunnel that a packet to these ports or of this protocol is of */
	u8 protocol;
	u8 flags;
	u8 family;
	u8 icmp_type;
	u8 icmp_code;
	u64 known; /* the word `home` of the slot below, when the key was looked for: see conns.h */
	u32 home;
	u32 place; /* from there, of the slot that was claimed, and its number */
	u32 slot;
	struct counted last; /* this and what follows stays: unwrap() copies what is before it */
	u32 ring_full;	     /* jiffies of the last time that it was on this CPU */
	u32 table_full;
};

enum parsed {
	PARSED,
	NOT_IP,
	CUT_SHORT, /* perhaps only because the rest is not in the linear part of the buffer */
	BROKEN,
};

/* What was learnt so far is read from memory again, and so no longer known to the verifier. */
#define FORGET() asm volatile("" ::: "memory")

static __always_inline bool is_tag(__be16 type)
{
	return type == NET16(TYPE_VLAN) || type == NET16(TYPE_QINQ) || type == NET16(TYPE_QINQ_OLD);
}

/* What follows the IP header, up to the first header that is not an extension. */
static __always_inline enum parsed read_extensions(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i <= EXTENSIONS; i++) {
		struct extension *header;
		u32 length;

		FORGET();
		if (p->protocol > DESTINATION || !(EXTENSION_SET >> p->protocol & 1))
			return PARSED;
		header = data + (p->headers & OFFSET);
		if ((void *)(header + 1) > end)
			return CUT_SHORT;
		length = (header->length + 1) * 8;
		if (p->protocol == AUTHENTICATION)
			length = (header->length + 2) * 4;
		if (p->protocol == FRAGMENT) {
			length = sizeof(*header);
			if (header->fragment & NET16(0xfff8))
				p->fragment = LATER;
			else if (header->fragment & NET16(MORE_FRAGMENTS_V6))
				p->fragment = FIRST;
			p->datagram.id = header->id;
			p->datagram.protocol = header->protocol;
		}
		p->protocol = header->protocol;
		p->headers += length;
		if (p->fragment == LATER)
			return PARSED;
	}
	return BROKEN;
}

/* An Ethernet header `*at` bytes in: what type follows, and where. */
static __always_inline enum parsed read_link(struct __sk_buff *skb, u32 *at, __be16 *type)
{
	void *next = (void *)(long)skb->data + *at + ETHERNET;
	void *end = (void *)(long)skb->data_end;

	if (next > end)
		return CUT_SHORT;
	*at += ETHERNET;
	*type = *(__be16 *)(next - 2);
#pragma clang loop unroll(full)
	for (u32 tags = 0; tags < 2 && is_tag(*type); tags++) {
		next += TAG;
		if (next > end)
			return CUT_SHORT;
		*at += TAG;
		*type = *(__be16 *)(next - 2);
	}
	return PARSED;
}

/* An IP header of that type `at` bytes in, and its extensions. */
static __always_inline enum parsed read_network(struct __sk_buff *skb, u32 at, __be16 type,
						struct packet *p)
{
	void *next = (void *)(long)skb->data + at;
	void *end = (void *)(long)skb->data_end;

	p->fragment = WHOLE;
	if (type == NET16(TYPE_IPV4)) {
		struct ipv4 *ip = next;
		u32 length;

		if ((void *)(ip + 1) > end)
			return CUT_SHORT;
		length = (ip->version_length & 15) * 4;
		if (ip->version_length >> 4 != 4 || length < sizeof(*ip))
			return BROKEN;
		p->src = (union address){ .word = { 0, 0, MAPPED, ip->src } };
		p->dst = (union address){ .word = { 0, 0, MAPPED, ip->dst } };
		p->protocol = ip->protocol;
		p->family = 4;
		p->headers = at + length;
#ifdef DNS_PORT
		p->end = ip->length ? at + NET16(ip->length) : 0;
#endif
		if (ip->fragment & NET16(0x3fff)) {
			p->fragment = ip->fragment & NET16(0x1fff) ? LATER : FIRST;
			p->datagram.id = ip->id;
			p->datagram.protocol = ip->protocol;
		}
		if (p->protocol != AUTHENTICATION || p->fragment == LATER)
			return PARSED;
	} else if (type == NET16(TYPE_IPV6)) {
		struct ipv6 *ip = next;

		if ((void *)(ip + 1) > end)
			return CUT_SHORT;
		if (ip->version_class >> 4 != 6)
			return BROKEN;
		p->src.half[0] = *(u64 *)&ip->src[0];
		p->src.half[1] = *(u64 *)&ip->src[2];
		p->dst.half[0] = *(u64 *)&ip->dst[0];
		p->dst.half[1] = *(u64 *)&ip->dst[2];
		p->protocol = ip->protocol;
		p->family = 6;
		p->headers = at + sizeof(*ip);
#ifdef DNS_PORT
		p->end = ip->length ? p->headers + NET16(ip->length) : 0;
#endif
	} else {
		return NOT_IP;
	}
	return read_extensions(skb, p);
}

/* What TCP would have said: the first chunk tells who began an association, and that it is over. */
static __always_inline u8 flags_of(u8 chunk)
{
	switch (chunk) {
	case CHUNK_INIT:
		return SYN;
	case CHUNK_INIT_ACK:
		return SYN | ACK;
	case CHUNK_ABORT:
		return RST;
	case CHUNK_SHUTDOWN:
	case CHUNK_SHUTDOWN_ACK:
	case CHUNK_SHUTDOWN_COMPLETE:
		return FIN;
	default:
		return ACK;
	}
}

#define TUNNEL_TO(port, setting) ((setting) && (port) == NET16((setting) & 0xffff))

static __always_inline u8 tunnel_to(__be16 port)
{
	if (TUNNEL_TO(port, TUNNEL_0))
		return TUNNEL_0 >> 16;
	if (TUNNEL_TO(port, TUNNEL_1))
		return TUNNEL_1 >> 16;
	if (TUNNEL_TO(port, TUNNEL_2))
		return TUNNEL_2 >> 16;
	if (TUNNEL_TO(port, TUNNEL_3))
		return TUNNEL_3 >> 16;
	return 0;
}

/* Ports, flags, type and code of what follows. */
static __always_inline enum parsed read_transport(struct __sk_buff *skb, struct packet *p)
{
	void *next = (void *)(long)skb->data + (p->headers & OFFSET);
	void *end = (void *)(long)skb->data_end;
	u8 protocol = p->protocol;

	p->src_port = p->dst_port = 0;
	p->flags = p->icmp_type = p->icmp_code = p->inside = 0;
	p->reversed = false;
	if (p->fragment == LATER)
		return PARSED;
	if (protocol == TCP) {
		struct transport *tcp = next;

		if ((void *)(tcp + 1) > end)
			return CUT_SHORT;
		p->src_port = tcp->src;
		p->dst_port = tcp->dst;
		p->flags = tcp->flags;
#ifdef DNS_PORT
		p->seq = NET32(tcp->seq);
#endif
		p->headers += (tcp->offset >> 4) * 4;
		p->reversed = (tcp->flags & (SYN | ACK)) == (SYN | ACK);
	} else if (protocol == UDP || protocol == UDP_LITE) {
		struct transport *ports = next;

		if ((void *)&ports->ack > end)
			return CUT_SHORT;
		p->src_port = ports->src;
		p->dst_port = ports->dst;
		p->headers += 8;
		if (protocol == UDP)
			p->inside = tunnel_to(ports->dst);
	} else if (protocol == ICMP || protocol == ICMPV6) {
		struct icmp *icmp = next;
		u8 request = protocol == ICMP ? 8 : 128, reply = protocol == ICMP ? 0 : 129;

		if ((void *)(icmp + 1) > end)
			return CUT_SHORT;
		p->icmp_type = icmp->type;
		p->icmp_code = icmp->code;
		p->reversed = icmp->type == reply;
		if (icmp->type == request || icmp->type == reply)
			p->src_port = p->dst_port = icmp->id;
	} else if (protocol == SCTP) {
		struct sctp *sctp = next;
		u8 chunk = 0;

		if ((void *)&sctp->chunk > end)
			return CUT_SHORT;
		p->src_port = sctp->src;
		p->dst_port = sctp->dst;
		p->headers += SCTP_COMMON;
		/* With GSO the chunks are in packets of their own behind it, which must not be pulled */
		if ((void *)&sctp->chunk + 1 <= end)
			chunk = sctp->chunk;
		else if (bpf_skb_load_bytes(skb, p->headers, &chunk, sizeof(chunk)))
			return CUT_SHORT;
		p->flags = flags_of(chunk);
		p->reversed = chunk == CHUNK_INIT_ACK;
	} else if (protocol == IPV4_INSIDE || protocol == IPV6_INSIDE) {
		p->inside = TUNNEL_IP;
	}
	return PARSED;
}

static __always_inline u32 mix(u32 hash, u32 word)
{
	return (hash ^ word) * 0x9e3779b1U ^ (hash ^ word) >> 15;
}

/* The key, the same for both directions. */
static __always_inline void order(struct packet *p)
{
	u32 from;

	if (p->src.half[0] != p->dst.half[0])
		from = p->src.half[0] > p->dst.half[0];
	else if (p->src.half[1] != p->dst.half[1])
		from = p->src.half[1] > p->dst.half[1];
	else
		from = p->src_port > p->dst_port;
	p->from = from;
	p->key.addr[from] = p->src;
	p->key.addr[!from] = p->dst;
	p->key.port[from] = p->src_port;
	p->key.port[!from] = p->dst_port;
	p->key.protocol = p->protocol;
}
