/*
 * Capture filter of new connections by CIDR, port and protocol, and sampling of one in SAMPLING.
 * Only a packet without a connection is tested. Filters that the loader does not define are not
 * compiled.
 *
 * FILTER_CIDR, FILTER_PORT and FILTER_PROTOCOL are the verdict when no entry of their map matches.
 */
#pragma once

#include "config.h"
#include "records/counters.h"
#include "packet/parse.h"

#define DEFAULT_ALLOW 1
#define DEFAULT_DENY 2

#ifdef FILTER_CIDR
/* 1 allows connections from and to the prefix, 0 denies them; the longest prefix wins. */
BPF_F_TABLE("lpm_trie", struct prefix, u32, flowd_filter_cidrs, MAX_FILTER_CIDRS,
	    BPF_F_NO_PREALLOC);

static __always_inline bool passes_cidrs(struct packet *p)
{
	bool allowed = FILTER_CIDR == DEFAULT_ALLOW;

#pragma clang loop unroll(full)
	for (u32 side = 0; side < 2; side++) {
		struct prefix whole = { .bits = 128, .address = p->key.addr[side] };
		u32 *rule = flowd_filter_cidrs.lookup(&whole);

		if (!rule)
			continue;
		if (!*rule)
			return false;
		allowed = true;
	}
	return allowed;
}
#else
#define passes_cidrs(p) true
#endif

#if defined(FILTER_PORT) || defined(FILTER_PROTOCOL)
/* A bit for each of 64 ports, or of 64 protocols in words from FILTER_PROTOCOLS on. */
struct filter_word {
	u64 wanted;
	u64 unwanted;
};
#define FILTER_PROTOCOLS 1024
BPF_TABLE("array", u32, struct filter_word, flowd_filter_numbers, FILTER_PROTOCOLS + 4);

/* 1 for allowed, 0 for denied, -1 for no entry. */
static __always_inline int filter_rule(u32 base, u32 number)
{
	u32 index = base + (number >> 6);
	u64 bit = 1ULL << (number & 63);
	struct filter_word *word = flowd_filter_numbers.lookup(&index);

	if (!word)
		return -1;
	if (word->unwanted & bit)
		return 0;
	return word->wanted & bit ? 1 : -1;
}
#endif

#ifdef FILTER_PORT
static __always_inline bool passes_ports(struct packet *p)
{
	bool allowed = FILTER_PORT == DEFAULT_ALLOW;

	/* Other protocols have no ports, or an echo identifier in that field. */
	if (p->key.protocol != TCP && p->key.protocol != UDP && p->key.protocol != UDP_LITE &&
	    p->key.protocol != SCTP)
		return allowed;
#pragma clang loop unroll(full)
	for (u32 side = 0; side < 2; side++) {
		int found = filter_rule(0, NET16(p->key.port[side]));

		if (!found)
			return false;
		if (found > 0)
			allowed = true;
	}
	return allowed;
}
#else
#define passes_ports(p) true
#endif

#ifdef FILTER_PROTOCOL
static __always_inline bool passes_protocols(struct packet *p)
{
	int found = filter_rule(FILTER_PROTOCOLS, p->key.protocol);

	return found < 0 ? FILTER_PROTOCOL == DEFAULT_ALLOW : found;
}
#else
#define passes_protocols(p) true
#endif

#ifdef SAMPLING
/*
 * Hashes the key, so that both directions, all interfaces and all nodes sample the same
 * connections.
 */
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

static __always_inline bool passes_filter(struct packet *p, struct counters *counters)
{
	if (!passes_protocols(p) || !passes_ports(p) || !passes_cidrs(p)) {
		counters->count[COUNT_FILTERED]++;
		return false;
	}
	if (!sampled(p)) {
		counters->count[COUNT_UNSAMPLED]++;
		return false;
	}
	return true;
}
