/* Headers as on the wire, and the numbers in them. All multi-byte fields are in network order. */
#pragma once

#include <linux/types.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NET16(x) ((__u16)__builtin_bswap16(x))
#define NET32(x) __builtin_bswap32(x)
#define MAPPED 0xffff0000U
#else
#define NET16(x) ((__u16)(x))
#define NET32(x) (x)
#define MAPPED 0x0000ffffU
#endif

#define ETHERNET 14
#define TAG 4 /* bytes of a VLAN tag */
#define SCTP_COMMON 12

enum ether_type {
	TYPE_IPV4 = 0x0800,
	TYPE_BRIDGED = 0x6558, /* a frame follows; RFC 8926 */
	TYPE_VLAN = 0x8100,
	TYPE_IPV6 = 0x86dd,
	TYPE_QINQ = 0x88a8,
	TYPE_QINQ_OLD = 0x9100,
};

enum protocol {
	HOP_BY_HOP = 0,
	ICMP = 1,
	IPV4_INSIDE = 4,
	TCP = 6,
	UDP = 17,
	IPV6_INSIDE = 41,
	ROUTING = 43,
	FRAGMENT = 44,
	AUTHENTICATION = 51,
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

enum sctp_chunk {
	CHUNK_INIT = 1,
	CHUNK_INIT_ACK = 2,
	CHUNK_ABORT = 6,
	CHUNK_SHUTDOWN = 7,
	CHUNK_SHUTDOWN_ACK = 8,
	CHUNK_SHUTDOWN_COMPLETE = 14,
};

#define MORE_FRAGMENTS 0x2000 /* IPv4; the offset is below it */
#define MORE_FRAGMENTS_V6 1   /* the offset is above it */

#define VXLAN_VALID 0x08 /* the VNI is one */

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

/* The head of every IPv6 extension, and all of the fragment header. */
struct extension {
	__u8 protocol;
	__u8 length;
	__be16 fragment;
	__be32 id;
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

/* The common header, and the type of the first chunk (RFC 9260, section 3). */
struct sctp {
	__be16 src;
	__be16 dst;
	__be32 tag;
	__be32 check;
	__u8 chunk;
};

struct icmp {
	__u8 type;
	__u8 code;
	__sum16 check;
	__be16 id;
	__be16 seq;
};

/* VXLAN (RFC 7348) and Geneve (RFC 8926), alike but for the first four bytes. */
struct overlay {
	union {
		__u8 vxlan_flags;
		__u8 geneve_version; /* 2 bits, and 6 of the length of options in words */
	};
	__u8 flags;
	__be16 type; /* Geneve */
	__be32 vni;  /* and 8 bits below it */
};
