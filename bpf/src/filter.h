/*
 * Which connections are wanted, by address, port and protocol, and one in SAMPLING of these. What the
 * loader does not ask for is not compiled. Only a packet that has no connection yet is asked.
 *
 * FILTER_CIDR, FILTER_PORT and FILTER_PROTOCOL say what becomes of what no entry of their map names.
 */
#pragma once

#include "config.h"
#include "records/counters.h"
#include "packet/parse.h"

#define OTHERS_STAY 1
#define OTHERS_GO 2

#ifdef FILTER_CIDR
/* 1: connections to or from there are wanted, 0: they are not; the longest prefix counts. */
BPF_F_TABLE("lpm_trie", struct prefix, u32, flowd_filter_cidrs, MAX_FILTER_CIDRS,
	    BPF_F_NO_PREALLOC);

static __always_inline bool wanted_address(struct packet *p)
{
	bool wanted = FILTER_CIDR == OTHERS_STAY;

#pragma clang loop unroll(full)
	for (u32 side = 0; side < 2; side++) {
		struct prefix one = { .bits = 128, .address = p->key.addr[side] };
		u32 *named = flowd_filter_cidrs.lookup(&one);

		if (!named)
			continue;
		if (!*named)
			return false;
		wanted = true;
	}
	return wanted;
}
#else
#define wanted_address(p) true
#endif

#if defined(FILTER_PORT) || defined(FILTER_PROTOCOL)
/* 64 ports, or from FILTER_PROTOCOLS on 64 protocols: a bit each. */
struct choice {
	u64 wanted;
	u64 unwanted;
};
#define FILTER_PROTOCOLS 1024
BPF_TABLE("array", u32, struct choice, flowd_filter_numbers, FILTER_PROTOCOLS + 4);

/* 1: wanted, 0: unwanted, -1: not named. */
static __always_inline int named(u32 base, u32 number)
{
	u32 index = base + (number >> 6);
	u64 bit = 1ULL << (number & 63);
	struct choice *choice = flowd_filter_numbers.lookup(&index);

	if (!choice)
		return -1;
	if (choice->unwanted & bit)
		return 0;
	return choice->wanted & bit ? 1 : -1;
}
#endif

#ifdef FILTER_PORT
static __always_inline bool wanted_port(struct packet *p)
{
	bool wanted = FILTER_PORT == OTHERS_STAY;

	/* Elsewhere there are none, or an echo's identifier in their place. */
	if (p->key.protocol != TCP && p->key.protocol != UDP && p->key.protocol != UDP_LITE &&
	    p->key.protocol != SCTP)
		return wanted;
#pragma clang loop unroll(full)
	for (u32 side = 0; side < 2; side++) {
		int found = named(0, NET16(p->key.port[side]));

		if (!found)
			return false;
		if (found > 0)
			wanted = true;
	}
	return wanted;
}
#else
#define wanted_port(p) true
#endif

#ifdef FILTER_PROTOCOL
static __always_inline bool wanted_protocol(struct packet *p)
{
	int found = named(FILTER_PROTOCOLS, p->key.protocol);

	return found < 0 ? FILTER_PROTOCOL == OTHERS_STAY : found;
}
#else
#define wanted_protocol(p) true
#endif

#ifdef SAMPLING
/* By the key, so that both directions, every interface and every node take the same connections. */
static __always_inline bool sampled(struct packet *p)
{
	u32 hash = (u32)p->key.port[0] << 16 | p->key.port[1];

	hash = mix(hash, p->key.protocol);
#pragma clang loop unroll(full)
	for (u32 i = 0; i < 4; i++) {
		hash = mix(hash, p->key.addr[0].word[i]);
		hash = mix(hash, p->key.addr[1].word[i]);
	}
	hash = (hash ^ hash >> 16) * 0x85ebca6bU;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35U;
	return (hash ^ hash >> 16) % SAMPLING == 0;
}
#else
#define sampled(p) true
#endif

static __always_inline bool chosen(struct packet *p, struct counters *counters)
{
	if (!wanted_protocol(p) || !wanted_port(p) || !wanted_address(p)) {
		counters->count[COUNT_FILTERED]++;
		return false;
	}
	if (!sampled(p)) {
		counters->count[COUNT_UNSAMPLED]++;
		return false;
	}
	return true;
}
