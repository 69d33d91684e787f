/*
 * Protocol headers as on the wire and their constants: Ethernet, IPv4, IPv6, TCP, UDP, ICMP, SCTP,
 * VXLAN, Geneve. Multi-byte fields are in network byte order.
 */
#pragma once

#include <linux/types.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NET16(x) ((__u16)__builtin_bswap16(x))
#define NET32(x) __builtin_bswap32(x)
#define V4MAPPED 0xffff0000U /* third word of ::ffff:a.b.c.d */
#else
#define NET16(x) ((__u16)(x))
#define NET32(x) (x)
#define V4MAPPED 0x0000ffffU
#endif

#define ETH_HLEN 14
#define VLAN_HLEN 4 /* IEEE 802.1Q tag */
#define SCTP_HLEN 12

enum ether_type {
	ETH_P_IP = 0x0800,
	ETH_P_TEB = 0x6558, /* a frame follows; RFC 8926 */
	ETH_P_8021Q = 0x8100,
	ETH_P_IPV6 = 0x86dd,
	ETH_P_8021AD = 0x88a8,
	ETH_P_QINQ1 = 0x9100,
};

enum protocol {
	HOP_BY_HOP = 0,
	ICMP = 1,
	IPIP = 4,
	TCP = 6,
	UDP = 17,
	IPV6_IN_IP = 41,
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

#define MORE_FRAGMENTS 0x2000 /* IPv4; the fragment offset is in the bits below */
#define MORE_FRAGMENTS_V6 1   /* the fragment offset is in the bits above */

#define VXLAN_VALID 0x08 /* flag I: the VNI is valid */

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

/* First bytes of every IPv6 extension header, and the whole fragment header (RFC 8200). */
struct extension {
	__u8 protocol;
	__u8 length;
	__be16 fragment;
	__be32 id;
};

/* TCP, or the first bytes of any protocol that begins with two ports. */
struct transport {
	__be16 src;
	__be16 dst;
	__be32 seq;
	__be32 ack;
	__u8 offset;
	__u8 flags;
};

/* Common header and type of the first chunk (RFC 9260, section 3). */
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

/* VXLAN (RFC 7348) or Geneve (RFC 8926); they differ in the first four bytes. */
struct overlay {
	union {
		__u8 vxlan_flags;
		__u8 geneve_version; /* 2 bits of version, 6 of option length in words */
	};
	__u8 flags;
	__be16 type; /* Geneve */
	__be32 vni;  /* in the upper 24 bits */
};
