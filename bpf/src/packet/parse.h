/*
 * Parse a packet's headers into a connection key: Ethernet with up to two VLAN tags (IEEE 802.1Q),
 * or no link header; IPv4 with options (RFC 791), IPv6 with extension headers (RFC 8200), in both
 * an authentication header (RFC 4302); ports, TCP flags and their equivalent of an SCTP chunk, ICMP
 * type, code and echo identifier.
 */
#pragma once

#include "config.h"
#include "records/counters.h"
#include "records/event.h"
#include "packet/wire.h"

/*
 * IPv6 extension headers that can be skipped, as a set of protocol numbers, and how many at most.
 */
#define EXTENSION_SET                                                                             \
	(1ULL << HOP_BY_HOP | 1ULL << ROUTING | 1ULL << FRAGMENT | 1ULL << AUTHENTICATION |        \
	 1ULL << DESTINATION)
#define MAX_EXTENSIONS 6
#define OFFSET_MASK 0x3fff /* bounds an offset for the verifier; nested headers can exceed it */

enum fragment_kind {
	NOT_FRAGMENT,
	FIRST_FRAGMENT,
	LATER_FRAGMENT,
};

/* Identity of a datagram, which all its fragments carry. */
struct datagram {
	union address src;
	union address dst;
	__u32 id;
	__u32 protocol;
};

/* The last packet that this CPU counted, and the interface and hook: see already_counted(). */
struct last_counted {
	struct connection_key key;
	u64 this_if;
	u32 sender;
	u32 now;
};

/* A packet's parsed fields; it lies in the map flowd_packet. */
struct packet {
	struct connection_key key;
	union address src;
	union address dst;
	struct datagram datagram; /* only of a fragment */
	struct tunnel tunnel;	  /* only of a tunnelled packet */
	u32 sender;		  /* side of the key that sent it */
	u32 header_bytes;	  /* up to the payload; each segment of a GSO packet has them */
	__be16 src_port;
	__be16 dst_port;
#ifdef DNS_PORT
	u32 end; /* offset of the end of the IP packet; 0 when its header has no length */
	u32 seq; /* TCP sequence number, host byte order */
#endif
	u8 fragment;
	bool is_answer; /* SYN+ACK, INIT ACK or an echo reply, so the receiver is the initiator */
	u8 encap;	/* tunnel_kind by destination port or protocol, 0 for no tunnel */
	u8 protocol;
	u8 flags;
	u8 family;
	u8 icmp_type;
	u8 icmp_code;
	u64 bucket_bits;	  /* of the bucket, as read before the lookup: see conn/table.h */
	u32 bucket;		  /* slot number */
	u32 probe;		  /* of the claimed slot */
	u32 slot;		  /* number of the claimed slot */
	struct last_counted last; /* kept between packets, as the next two; see decapsulate() */
	u32 ring_full;		  /* jiffies when this CPU last found it full */
	u32 table_full;		  /* likewise */
};

enum parsed {
	PARSED,
	NOT_IP,
	TRUNCATED, /* the headers may continue in the non-linear part of the buffer */
	BAD_HEADER,
};

/*
 * Compiler barrier: values are read from memory again, so the verifier forgets their known bounds.
 */
#define barrier() asm volatile("" ::: "memory")

static __always_inline bool is_vlan_tag(__be16 type)
{
	return type == NET16(ETH_P_8021Q) || type == NET16(ETH_P_8021AD) ||
	       type == NET16(ETH_P_QINQ1);
}

/* Skip IPv6 extension headers up to the first header that is none. */
static __always_inline enum parsed read_extensions(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i <= MAX_EXTENSIONS; i++) {
		struct extension *header;
		u32 length;

		barrier();
		if (p->protocol > DESTINATION || !(EXTENSION_SET >> p->protocol & 1))
			return PARSED;
		header = data + (p->header_bytes & OFFSET_MASK);
		if ((void *)(header + 1) > end)
			return TRUNCATED;
		length = (header->length + 1) * 8;
		if (p->protocol == AUTHENTICATION)
			length = (header->length + 2) * 4;
		if (p->protocol == FRAGMENT) {
			length = sizeof(*header);
			if (header->fragment & NET16(0xfff8))
				p->fragment = LATER_FRAGMENT;
			else if (header->fragment & NET16(MORE_FRAGMENTS_V6))
				p->fragment = FIRST_FRAGMENT;
			p->datagram.id = header->id;
			p->datagram.protocol = header->protocol;
		}
		p->protocol = header->protocol;
		p->header_bytes += length;
		if (p->fragment == LATER_FRAGMENT)
			return PARSED;
	}
	return BAD_HEADER;
}

/* Parse an Ethernet header at offset `*at`: sets the payload's type, and `*at` to its offset. */
static __always_inline enum parsed read_link(struct __sk_buff *skb, u32 *at, __be16 *type)
{
	void *next = (void *)(long)skb->data + *at + ETH_HLEN;
	void *end = (void *)(long)skb->data_end;

	if (next > end)
		return TRUNCATED;
	*at += ETH_HLEN;
	*type = *(__be16 *)(next - 2);
#pragma clang loop unroll(full)
	for (u32 tags = 0; tags < 2 && is_vlan_tag(*type); tags++) {
		next += VLAN_HLEN;
		if (next > end)
			return TRUNCATED;
		*at += VLAN_HLEN;
		*type = *(__be16 *)(next - 2);
	}
	return PARSED;
}

/* Parse the IP header of that EtherType at offset `at`, and its extension headers. */
static __always_inline enum parsed read_network(struct __sk_buff *skb, u32 at, __be16 type,
						struct packet *p)
{
	void *next = (void *)(long)skb->data + at;
	void *end = (void *)(long)skb->data_end;

	p->fragment = NOT_FRAGMENT;
	if (type == NET16(ETH_P_IP)) {
		struct ipv4 *ip = next;
		u32 length;

		if ((void *)(ip + 1) > end)
			return TRUNCATED;
		length = (ip->version_length & 15) * 4;
		if (ip->version_length >> 4 != 4 || length < sizeof(*ip))
			return BAD_HEADER;
		p->src = (union address){ .word = { 0, 0, V4MAPPED, ip->src } };
		p->dst = (union address){ .word = { 0, 0, V4MAPPED, ip->dst } };
		p->protocol = ip->protocol;
		p->family = 4;
		p->header_bytes = at + length;
#ifdef DNS_PORT
		p->end = ip->length ? at + NET16(ip->length) : 0;
#endif
		if (ip->fragment & NET16(0x3fff)) {
			p->fragment = ip->fragment & NET16(0x1fff) ? LATER_FRAGMENT :
								     FIRST_FRAGMENT;
			p->datagram.id = ip->id;
			p->datagram.protocol = ip->protocol;
		}
		if (p->protocol != AUTHENTICATION || p->fragment == LATER_FRAGMENT)
			return PARSED;
	} else if (type == NET16(ETH_P_IPV6)) {
		struct ipv6 *ip = next;

		if ((void *)(ip + 1) > end)
			return TRUNCATED;
		if (ip->version_class >> 4 != 6)
			return BAD_HEADER;
		p->src.half[0] = *(u64 *)&ip->src[0];
		p->src.half[1] = *(u64 *)&ip->src[2];
		p->dst.half[0] = *(u64 *)&ip->dst[0];
		p->dst.half[1] = *(u64 *)&ip->dst[2];
		p->protocol = ip->protocol;
		p->family = 6;
		p->header_bytes = at + sizeof(*ip);
#ifdef DNS_PORT
		p->end = ip->length ? p->header_bytes + NET16(ip->length) : 0;
#endif
	} else {
		return NOT_IP;
	}
	return read_extensions(skb, p);
}

/* TCP flags that correspond to the first chunk of an SCTP packet: set-up, end, or neither. */
static __always_inline u8 sctp_flags(u8 chunk)
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

#define TUNNEL_MATCHES(port, setting) ((setting) && (port) == NET16((setting) & 0xffff))

static __always_inline u8 port_tunnel(__be16 port)
{
	if (TUNNEL_MATCHES(port, TUNNEL_0))
		return TUNNEL_0 >> 16;
	if (TUNNEL_MATCHES(port, TUNNEL_1))
		return TUNNEL_1 >> 16;
	if (TUNNEL_MATCHES(port, TUNNEL_2))
		return TUNNEL_2 >> 16;
	if (TUNNEL_MATCHES(port, TUNNEL_3))
		return TUNNEL_3 >> 16;
	return 0;
}

/* Parse the transport header: ports, flags, ICMP type and code. */
static __always_inline enum parsed read_transport(struct __sk_buff *skb, struct packet *p)
{
	void *next = (void *)(long)skb->data + (p->header_bytes & OFFSET_MASK);
	void *end = (void *)(long)skb->data_end;
	u8 protocol = p->protocol;

	p->src_port = p->dst_port = 0;
	p->flags = p->icmp_type = p->icmp_code = p->encap = 0;
	p->is_answer = false;
	if (p->fragment == LATER_FRAGMENT)
		return PARSED;
	if (protocol == TCP) {
		struct transport *tcp = next;

		if ((void *)(tcp + 1) > end)
			return TRUNCATED;
		p->src_port = tcp->src;
		p->dst_port = tcp->dst;
		p->flags = tcp->flags;
#ifdef DNS_PORT
		p->seq = NET32(tcp->seq);
#endif
		p->header_bytes += (tcp->offset >> 4) * 4;
		p->is_answer = (tcp->flags & (SYN | ACK)) == (SYN | ACK);
	} else if (protocol == UDP || protocol == UDP_LITE) {
		struct transport *ports = next;

		if ((void *)&ports->ack > end)
			return TRUNCATED;
		p->src_port = ports->src;
		p->dst_port = ports->dst;
		p->header_bytes += 8;
		if (protocol == UDP)
			p->encap = port_tunnel(ports->dst);
	} else if (protocol == ICMP || protocol == ICMPV6) {
		struct icmp *icmp = next;
		u8 request = protocol == ICMP ? 8 : 128, reply = protocol == ICMP ? 0 : 129;

		if ((void *)(icmp + 1) > end)
			return TRUNCATED;
		p->icmp_type = icmp->type;
		p->icmp_code = icmp->code;
		p->is_answer = icmp->type == reply;
		if (icmp->type == request || icmp->type == reply)
			p->src_port = p->dst_port = icmp->id;
	} else if (protocol == SCTP) {
		struct sctp *sctp = next;
		u8 chunk = 0;

		if ((void *)&sctp->chunk > end)
			return TRUNCATED;
		p->src_port = sctp->src;
		p->dst_port = sctp->dst;
		p->header_bytes += SCTP_HLEN;
		/* With GSO the chunks lie in the packets of a list, which must not be pulled. */
		if ((void *)&sctp->chunk + 1 <= end)
			chunk = sctp->chunk;
		else if (bpf_skb_load_bytes(skb, p->header_bytes, &chunk, sizeof(chunk)))
			return TRUNCATED;
		p->flags = sctp_flags(chunk);
		p->is_answer = chunk == CHUNK_INIT_ACK;
	} else if (protocol == IPIP || protocol == IPV6_IN_IP) {
		p->encap = TUNNEL_IP;
	}
	return PARSED;
}

static __always_inline u32 mix(u32 hash, u32 word)
{
	return (hash ^ word) * 0x9e3779b1U ^ (hash ^ word) >> 15;
}

/* Build the key, the same for both directions: the lower address, then port, is side 0. */
static __always_inline void canonicalize_key(struct packet *p)
{
	u32 sender;

	if (p->src.half[0] != p->dst.half[0])
		sender = p->src.half[0] > p->dst.half[0];
	else if (p->src.half[1] != p->dst.half[1])
		sender = p->src.half[1] > p->dst.half[1];
	else
		sender = p->src_port > p->dst_port;
	p->sender = sender;
	p->key.addr[sender] = p->src;
	p->key.addr[!sender] = p->dst;
	p->key.port[sender] = p->src_port;
	p->key.port[!sender] = p->dst_port;
	p->key.protocol = p->protocol;
}
