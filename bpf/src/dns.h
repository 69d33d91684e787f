/*
 * Copy the payload of packets from and to DNS ports into two rings, flowd_dns_short and
 * flowd_dns_long. Compiled only when the loader defines DNS_PORT; DNS_PORT_2 to DNS_PORT_4 are
 * further ports.
 */
#pragma once

#include "config.h"
#include "records/counters.h"
#include "records/dns_record.h"
#include "packet/parse.h"

#ifdef DNS_PORT

#ifndef DNS_PORT_2
#define DNS_PORT_2 DNS_PORT
#endif
#ifndef DNS_PORT_3
#define DNS_PORT_3 DNS_PORT
#endif
#ifndef DNS_PORT_4
#define DNS_PORT_4 DNS_PORT
#endif
#ifndef DNS_RING_BYTES
#define DNS_RING_BYTES (1 << 20) /* of each ring; a power of two, at least a page */
#endif
#define DNS_MAX_PARTS 16 /* records of one segmentation-offload packet */

BPF_RINGBUF_OUTPUT(flowd_dns_short, DNS_RING_BYTES / PAGE_SIZE);
BPF_RINGBUF_OUTPUT(flowd_dns_long, DNS_RING_BYTES / PAGE_SIZE);

static __always_inline bool is_dns_port(__be16 port)
{
	return port == NET16(DNS_PORT) || port == NET16(DNS_PORT_2) || port == NET16(DNS_PORT_3) ||
	       port == NET16(DNS_PORT_4);
}

/*
 * Bound `last`, a length minus one: then last + 1 is never zero for the verifier. Older verifiers
 * do not learn that from a comparison of the length with zero.
 */
#define BOUNDED(last, size) ({ asm volatile("" : "+r"(last)); (last) < (size); })

/* Write one record of head->length payload bytes from offset `at`; false when the ring is full. */
static __always_inline bool copy_dns(struct __sk_buff *skb, struct dns_head *head, u64 at)
{
	u64 last = (u64)head->length - 1;

	if (head->length <= DNS_SHORT) {
		struct dns_short *record = flowd_dns_short.ringbuf_reserve(sizeof(*record));

		if (!record)
			return false;
		record->head = *head;
		if (BOUNDED(last, DNS_SHORT))
			bpf_skb_load_bytes(skb, at, record->payload, last + 1);
		flowd_dns_short.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	} else {
		struct dns_long *record = flowd_dns_long.ringbuf_reserve(sizeof(*record));

		if (!record)
			return false;
		record->head = *head;
		if (BOUNDED(last, DNS_LONG))
			bpf_skb_load_bytes(skb, at, record->payload, last + 1);
		flowd_dns_long.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	}
	return true;
}

/* Payload bytes of the IP packet, without padding of the link layer. */
static __always_inline u32 payload_length(struct __sk_buff *skb, struct packet *p)
{
	u32 end = skb->len;

	if (p->end && p->end < end)
		end = p->end;
	return end > p->header_bytes ? end - p->header_bytes : 0;
}

/* Write the payload as one record, or for a segmentation-offload TCP packet as several. */
static __always_inline void read_dns(struct __sk_buff *skb, struct packet *p, u64 conn_id,
				     const u32 hook, struct counters *counters)
{
	struct dns_head head = {};
	u32 left, original;
	u64 at = p->header_bytes;

	if (!is_dns_port(p->src_port) && !is_dns_port(p->dst_port))
		return;
	if (p->fragment == LATER_FRAGMENT || (p->protocol != UDP && p->protocol != TCP))
		return;
	left = original = payload_length(skb, p);
	if (p->protocol == UDP) {
		__be16 udp_length = 0;

		bpf_skb_load_bytes(skb, p->header_bytes - 4, &udp_length, sizeof(udp_length));
		if (NET16(udp_length) >= 8) {
			original = NET16(udp_length) - 8;
			if (left > original)
				left = original;
		}
		if (!left)
			return;
	} else if (!left && !(p->flags & (SYN | FIN | RST))) {
		return;
	}

	head.time_ns = bpf_ktime_get_ns();
	head.conn_id = conn_id;
	__builtin_memcpy(head.src_addr, &p->src, 16);
	__builtin_memcpy(head.dst_addr, &p->dst, 16);
	head.ifindex = skb->ifindex;
	head.seq = p->seq;
	head.src_port = NET16(p->src_port);
	head.dst_port = NET16(p->dst_port);
	head.protocol = p->protocol;
	head.family = p->family;
	head.hook = hook;
	head.flags = p->flags;
#pragma clang loop unroll(disable)
	for (u32 part = 0; part < DNS_MAX_PARTS; part++) {
		head.original = original;
		head.length = left < DNS_LONG ? left : DNS_LONG;
		if (!copy_dns(skb, &head, at)) {
			counters->count[COUNT_DNS_RING_FULL]++;
			return;
		}
		if (left <= DNS_LONG || p->protocol == UDP)
			return;
		at += DNS_LONG;
		head.seq += DNS_LONG;
		left -= DNS_LONG;
		original -= DNS_LONG;
	}
}

#else

static __always_inline void read_dns(struct __sk_buff *skb, struct packet *p, u64 conn_id,
				     const u32 hook, struct counters *counters)
{
}

#endif
