/*
 * Count dropped packets by reason, interface and tuple, from the tracepoint skb:kfree_skb (a typed
 * raw tracepoint). User space reads and empties the map flowd_drops.
 *
 * Kernel structs are read at offsets that user space takes from the kernel's BTF
 * (OFF_STRUCT_FIELD). Without the kernel function bpf_rdonly_cast (6.2) packet headers cannot be
 * read this way; the tuple is then the socket's, if the packet has one.
 */
#include <uapi/linux/bpf.h>
#include <linux/types.h>

#include "records/drop.h"

#ifndef MAX_DROPS
#define MAX_DROPS 8192
#endif

#define AF_INET 2
#define AF_INET6 10
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define TCP 6
#define UDP 17
#define SCTP 132

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NET16(x) __builtin_bswap16(x)
#define V4MAPPED 0xffff0000U
#else
#define NET16(x) (x)
#define V4MAPPED 0x0000ffffU
#endif

#define FIELD(type, base, offset) (*(type *)((void *)(base) + (offset)))

BPF_TABLE("hash", struct drop_key, struct drop_count, flowd_drops, MAX_DROPS);
BPF_TABLE("percpu_array", u32, u64, flowd_drops_full, 1);

static __always_inline void write_v4mapped(__u8 *to, u32 address)
{
	u32 *words = (u32 *)to;

	words[2] = V4MAPPED;
	words[3] = address;
}

#ifdef KFUNC_CAST
/* KFUNC_CALL is no helper; user space patches this call into one of bpf_rdonly_cast. */
static void *(*rdonly_cast)(u64 address, u32 type) = (void *)KFUNC_CALL;

/* Read the tuple from the packet headers; false when they are not in the linear part. */
static __always_inline bool read_packet(void *skb, u16 type, struct drop_key *key)
{
	u64 head = FIELD(u64, skb, OFF_SK_BUFF_HEAD);
	u32 tail = FIELD(u32, skb, OFF_SK_BUFF_TAIL);
	u32 network = FIELD(u16, skb, OFF_SK_BUFF_NETWORK_HEADER);
	u32 *to = (u32 *)key->dst_addr, *from = (u32 *)key->src_addr;
	u32 length;

	if (type == NET16(ETH_P_IP)) {
		void *ip = rdonly_cast(head + network, TYPE_IPHDR);
		u8 first = FIELD(u8, ip, 0);

		length = (first & 15) * 4;
		if (network + length > tail || first >> 4 != 4 || length < 20)
			return false;
		write_v4mapped(key->src_addr, FIELD(u32, ip, 12));
		write_v4mapped(key->dst_addr, FIELD(u32, ip, 16));
		key->protocol = FIELD(u8, ip, 9);
		key->family = 4;
		if (FIELD(u16, ip, 6) & NET16(0x1fff))
			return true;
	} else {
		void *ip = rdonly_cast(head + network, TYPE_IPV6HDR);

		length = 40;
		if (network + length > tail || FIELD(u8, ip, 0) >> 4 != 6)
			return false;
		from[0] = FIELD(u32, ip, 8);
		from[1] = FIELD(u32, ip, 12);
		from[2] = FIELD(u32, ip, 16);
		from[3] = FIELD(u32, ip, 20);
		to[0] = FIELD(u32, ip, 24);
		to[1] = FIELD(u32, ip, 28);
		to[2] = FIELD(u32, ip, 32);
		to[3] = FIELD(u32, ip, 36);
		key->protocol = FIELD(u8, ip, 6);
		key->family = 6;
	}
	if (key->protocol == TCP && network + length + 20 <= tail) {
		void *tcp = rdonly_cast(head + network + length, TYPE_TCPHDR);

		key->src_port = FIELD(u16, tcp, 0);
		key->dst_port = FIELD(u16, tcp, 2);
		key->flags = FIELD(u8, tcp, 13);
	} else if ((key->protocol == UDP || key->protocol == SCTP) && network + length + 8 <= tail) {
		void *udp = rdonly_cast(head + network + length, TYPE_UDPHDR);

		key->src_port = FIELD(u16, udp, 0);
		key->dst_port = FIELD(u16, udp, 2);
	}
	return true;
}
#endif

/*
 * Read the tuple from the packet's socket, with source and destination swapped for a received
 * packet.
 */
static __always_inline bool read_socket(void *skb, struct drop_key *key)
{
	void *sk = FIELD(void *, skb, OFF_SK_BUFF_SK);
	bool received = FIELD(u32, skb, OFF_SK_BUFF_SKB_IIF) != 0;
	__u8 *local = received ? key->dst_addr : key->src_addr;
	__u8 *remote = received ? key->src_addr : key->dst_addr;
	u16 family, local_port, remote_port;

	if (!sk)
		return false;
	family = FIELD(u16, sk, OFF_SOCK_COMMON_SKC_FAMILY);
	if (family == AF_INET) {
		write_v4mapped(local, FIELD(u32, sk, OFF_SOCK_COMMON_SKC_RCV_SADDR));
		write_v4mapped(remote, FIELD(u32, sk, OFF_SOCK_COMMON_SKC_DADDR));
	} else if (family == AF_INET6) {
#pragma clang loop unroll(full)
		for (u32 i = 0; i < 4; i++) {
			((u32 *)local)[i] = FIELD(u32, sk, OFF_SOCK_COMMON_SKC_V6_RCV_SADDR + 4 * i);
			((u32 *)remote)[i] = FIELD(u32, sk, OFF_SOCK_COMMON_SKC_V6_DADDR + 4 * i);
		}
	} else {
		return false;
	}
	local_port = NET16(FIELD(u16, sk, OFF_SOCK_COMMON_SKC_NUM));
	remote_port = FIELD(u16, sk, OFF_SOCK_COMMON_SKC_DPORT);
	key->src_port = received ? remote_port : local_port;
	key->dst_port = received ? local_port : remote_port;
	key->family = ((u32 *)local)[2] == V4MAPPED && !((u64 *)local)[0] ? 4 : 6;
	return true;
}

int flowd_drop(u64 *arguments)
{
	struct drop_count *count, first = {};
	struct drop_key key = {};
	void *skb = (void *)arguments[0], *device, *net;
	u32 zero = 0;
	u64 *full;
	u16 type;

	key.reason = arguments[2];
	if (key.reason < FIRST_REASON)
		return 0;
	type = FIELD(u16, skb, OFF_SK_BUFF_PROTOCOL);
	if (type != NET16(ETH_P_IP) && type != NET16(ETH_P_IPV6))
		return 0;
	device = FIELD(void *, skb, OFF_SK_BUFF_DEV);
	if (device) {
		net = FIELD(void *, device, OFF_NET_DEVICE_ND_NET_NET);
		if (net && FIELD(u32, net, OFF_NET_NS_INUM) == NAMESPACE)
			key.ifindex = FIELD(u32, device, OFF_NET_DEVICE_IFINDEX);
	}
#ifdef KFUNC_CAST
	if (read_packet(skb, type, &key))
		key.tuple = TUPLE_PACKET;
#endif
	/* A closing socket frees segments that were delivered and acknowledged: no drop. */
	if (key.reason == QUEUE_PURGE && key.protocol == TCP && !device)
		return 0;
	if (!key.tuple && read_socket(skb, &key))
		key.tuple = TUPLE_SOCKET;
	if (!key.family)
		key.family = type == NET16(ETH_P_IP) ? 4 : 6;

	first.bytes = FIELD(u32, skb, OFF_SK_BUFF_LEN);
	first.packets = 1;
	first.time_ns = bpf_ktime_get_ns();
	count = flowd_drops.lookup(&key);
	if (!count) {
		if (!flowd_drops.insert(&key, &first))
			return 0;
		count = flowd_drops.lookup(&key);
	}
	if (count) {
		__sync_fetch_and_add(&count->packets, 1);
		__sync_fetch_and_add(&count->bytes, first.bytes);
		return 0;
	}
	full = flowd_drops_full.lookup(&zero);
	if (full)
		(*full)++;
	return 0;
}
