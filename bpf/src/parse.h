/*
 * From packet to key: Ethernet with or without a VLAN tag, or no link header, IPv4 with options
 * (RFC 791), IPv6 with extension headers (RFC 8200), ports, TCP flags, ICMP type, code and echo
 * identifier.
 */
#pragma once

#include "counters.h"
#include "event.h"

#define ETHERNET 14

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NET16(x) __builtin_bswap16(x)
#define NET32(x) __builtin_bswap32(x)
#define MAPPED 0xffff0000U
#else
#define NET16(x) (x)
#define NET32(x) (x)
#define MAPPED 0x0000ffffU
#endif

#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86dd
#define TYPE_VLAN 0x8100
#define TYPE_QINQ 0x88a8

enum protocol {
	HOP_BY_HOP = 0,
	ICMP = 1,
	TCP = 6,
	UDP = 17,
	ROUTING = 43,
	FRAGMENT = 44,
	ICMPV6 = 58,
	DESTINATION = 60,
	SCTP = 132,
	UDP_LITE = 136,
};

enum tcp_flag {
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	ACK = 0x10,
};

/* Extension headers of RFC 8200 that do not hide what follows, and how many are followed. */
#define EXTENSION_SET (1ULL << HOP_BY_HOP | 1ULL << ROUTING | 1ULL << FRAGMENT | 1ULL << DESTINATION)
#define EXTENSIONS 6
#define OFFSET 0x3fff /* bounds an offset for the verifier; more than six extensions can reach */

struct ipv4 {
	__u8 version_length;
	__u8 service;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 hops;
	__u8 protocol;
	__sum16 check;
	__be32 src;
	__be32 dst;
};

struct ipv6 {
	__u8 version_class;
	__u8 class_flow[3];
	__be16 length;
	__u8 protocol;
	__u8 hops;
	__be32 src[4];
	__be32 dst[4];
};

struct extension {
	__u8 protocol;
	__u8 length;
	__be16 fragment;
};

/* TCP, or the head of anything else that begins with two ports. */
struct transport {
	__be16 src;
	__be16 dst;
	__be32 seq;
	__be32 ack;
	__u8 offset;
	__u8 flags;
};

struct icmp {
	__u8 type;
	__u8 code;
	__sum16 check;
	__be16 id;
	__be16 seq;
};

/* The packet at hand, in a map: see flowd_packet. */
struct packet {
	struct connection_key key;
	union address src;
	union address dst;
	__be16 src_port;
	__be16 dst_port;
	u32 from;    /* side that sent it */
	u32 headers; /* bytes up to the payload, which every segment of a GSO packet carries */
#ifdef DNS_PORT
	u32 end; /* bytes up to the end of the IP packet; 0 where its header does not tell */
	u32 seq; /* of TCP, host byte order */
#endif
	bool later_fragment;
	bool reversed; /* an answer by its kind, whether or not the question was seen */
	u8 protocol;
	u8 flags;
	u8 family;
	u8 icmp_type;
	u8 icmp_code;
};

enum parsed {
	PARSED,
	NOT_IP,
	CUT_SHORT, /* perhaps only because the rest is not in the linear part of the buffer */
	BROKEN,
};

/* What was learnt so far is read from memory again, and so no longer known to the verifier. */
#define FORGET() asm volatile("" ::: "memory")

/* The IP header, `l2` bytes in, and its extensions: all of `p` but ports, flags, type and key. */
static __always_inline enum parsed read_network(struct __sk_buff *skb, const u32 l2,
						struct packet *p)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	void *next = data + l2;
	__be16 type = skb->protocol;

	p->later_fragment = false;
	if (l2) {
		if (next > end)
			return CUT_SHORT;
		type = *(__be16 *)(data + 12);
		if (type == NET16(TYPE_VLAN) || type == NET16(TYPE_QINQ)) {
			next += 4;
			if (next > end)
				return CUT_SHORT;
			type = *(__be16 *)(data + 16);
		}
	}

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
		p->later_fragment = (ip->fragment & NET16(0x1fff)) != 0;
		p->headers = next - data + length;
#ifdef DNS_PORT
		p->end = ip->length ? next - data + NET16(ip->length) : 0;
#endif
	} else if (type == NET16(TYPE_IPV6)) {
		struct ipv6 *ip = next;

		if ((void *)(ip + 1) > end)
			return CUT_SHORT;
		if (ip->version_class >> 4 != 6)
			return BROKEN;
		__builtin_memcpy(&p->src, ip->src, sizeof(p->src));
		__builtin_memcpy(&p->dst, ip->dst, sizeof(p->dst));
		p->protocol = ip->protocol;
		p->family = 6;
		p->headers = next - data + sizeof(*ip);
#ifdef DNS_PORT
		p->end = ip->length ? p->headers + NET16(ip->length) : 0;
#endif
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
			length = header->length;
			if (p->protocol == FRAGMENT) {
				length = 0;
				p->later_fragment = (header->fragment & NET16(0xfff8)) != 0;
			}
			p->protocol = header->protocol;
			p->headers += (length + 1) * 8;
			if (p->later_fragment)
				return PARSED;
		}
		return BROKEN;
	} else {
		return NOT_IP;
	}
	return PARSED;
}

/* Ports, flags, type and code of what follows. */
static __always_inline enum parsed read_transport(struct __sk_buff *skb, struct packet *p)
{
	void *next = (void *)(long)skb->data + (p->headers & OFFSET);
	void *end = (void *)(long)skb->data_end;
	u8 protocol = p->protocol;

	p->src_port = p->dst_port = 0;
	p->flags = p->icmp_type = p->icmp_code = 0;
	p->reversed = false;
	if (p->later_fragment)
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
	} else if (protocol == UDP || protocol == SCTP || protocol == UDP_LITE) {
		struct transport *ports = next;

		if ((void *)&ports->seq > end)
			return CUT_SHORT;
		p->src_port = ports->src;
		p->dst_port = ports->dst;
		p->headers += 8;
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
	}
	return PARSED;
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

static __always_inline enum parsed read_packet(struct __sk_buff *skb, const u32 l2,
					       struct packet *p)
{
	enum parsed parsed = read_network(skb, l2, p);

	if (parsed != PARSED)
		return parsed;
	FORGET();
	parsed = read_transport(skb, p);
	if (parsed != PARSED)
		return parsed;
	FORGET();
	order(p);
	return PARSED;
}
