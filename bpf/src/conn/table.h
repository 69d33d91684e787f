/*
 * The connection table: a lock-free open-addressing hash table in a BPF array map.
 *
 * Why not the kernel's hash map: cache misses. A packet of a known connection touches two cache
 * lines here, both in one page; a BPF hash map has bucket and entry in two pages, and touches three
 * or four lines.
 *
 * A key's hash names its bucket, which is a slot. The connection lies in one of MAX_PROBES slots:
 * the bucket itself (probe 0) or pseudo-random ones that follow from the bucket's number (probe 1
 * and up). Bit n of the bucket's word `bucket_bits` tells that probe n holds a connection of this
 * bucket, so a lookup visits only set bits, and a new key costs one slot in most cases. The bits
 * above are a generation, raised by each insertion.
 *
 * Insertion: a CPU claims a slot by compare-and-swap of its state from SLOT_FREE, fills it, and
 * publishes it by compare-and-swap of `bucket_bits` against the value at its lookup. Of CPUs that
 * insert one key at once, all but one fail there and find the other's entry.
 *
 * Removal: a CPU, or flowd_evict, sets MARK_ENDED in the connection, clears its bit in
 * `bucket_bits`, and frees the slot last.
 */
#pragma once

#include "maps.h"
#include "packet/parse.h"

#define MAX_PROBES 24
#define PROBE_MASK ((1ULL << MAX_PROBES) - 1)
#define BUCKET_GENERATION (1ULL << MAX_PROBES) /* added to bucket_bits by each insertion */

/* A slot in [0, SLOTS), as evenly spread as the hash: a multiplication in place of a modulo. */
static __always_inline u32 slot_from_hash(u32 hash)
{
	return (u64)hash * SLOTS >> 32;
}

static __always_inline u32 bucket_of(struct connection_key *key)
{
	u64 *word = (u64 *)key, hash = HASH_SEED;

#pragma clang loop unroll(full)
	for (u32 i = 0; i < sizeof(*key) / sizeof(*word); i++) {
		hash = (hash ^ word[i]) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 32;
	}
	return slot_from_hash(hash * 0xd6e8feb86659fd93ULL >> 32);
}

static __always_inline u32 probe_slot(u32 bucket, u32 probe)
{
	u32 hash = bucket * 0x9e3779b1U + probe * 0x85ebca6bU;

	hash = (hash ^ hash >> 15) * 0xc2b2ae35U;
	return probe ? slot_from_hash(hash ^ hash >> 16) : bucket;
}

static __always_inline bool same_key(struct connection_key *one, struct connection_key *other)
{
	u64 *a = (u64 *)one, *b = (u64 *)other;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4];
}

/* Whether the slot holds that key and is not being removed. */
static __always_inline bool matches_live(struct connection *c, struct connection_key *key)
{
	return same_key(&c->key, key) && !(c->marks & MARK_ENDED);
}

/* The eight bytes of struct connection from `reported` to `family`, for one compare-and-swap. */
union slot_word {
	u64 whole;
	struct {
		u32 reported;
		u8 state[4];
	};
};

static __always_inline u64 *slot_word_of(struct connection *c)
{
	return (u64 *)&c->reported;
}

/*
 * The packet's connection, looked up by p->bucket_bits; NULL when the bucket has none of that key.
 */
static __always_inline struct connection *find(struct packet *p, struct connection *bucket)
{
	u64 bits = p->bucket_bits;

	if (bits & 1 && matches_live(bucket, &p->key))
		return bucket;
#pragma clang loop unroll(disable)
	for (u32 probe = 1; probe < MAX_PROBES; probe++) {
		struct connection *c;
		u32 slot;

		bits = bits >> 1 & PROBE_MASK >> 1;
		if (!bits)
			break;
		if (!(bits & 1))
			continue;
		slot = probe_slot(p->bucket, probe);
		c = flowd_conns.lookup(&slot);
		if (c && matches_live(c, &p->key))
			return c;
	}
	return NULL;
}

/*
 * Claim a free slot for one more connection of the bucket p->bucket; NULL when all probes are in
 * use.
 */
static __always_inline struct connection *claim(struct packet *p, u32 now)
{
#pragma clang loop unroll(disable)
	for (u32 probe = 0; probe < MAX_PROBES; probe++) {
		union slot_word is, claimed;
		u64 *word;
		struct connection *c;
		u32 slot;

		if (p->bucket_bits >> probe & 1)
			continue;
		slot = probe_slot(p->bucket, probe);
		c = flowd_conns.lookup(&slot);
		if (!c)
			break;
		is.whole = *slot_word_of(c);
		if (*(u32 *)is.state || now - is.reported < GRACE_TICKS)
			continue;
		claimed = is;
		claimed.state[0] = SLOT_CLAIMED;
		if (__sync_val_compare_and_swap(slot_word_of(c), is.whole, claimed.whole) != is.whole)
			continue;
		p->probe = probe;
		p->slot = slot;
		slot /= 64;
		word = flowd_used_slots.lookup(&slot);
		if (word)
			__sync_fetch_and_or(word, 1ULL << (p->slot & 63));
		return c;
	}
	return NULL;
}

/* Clear the connection's bit in its bucket, so that no lookup finds it; returns the bit. */
static __always_inline u64 unlink(struct connection *c, struct connection *bucket)
{
	u64 bit = 1ULL << (c->probe & 63);

	__sync_fetch_and_and(&bucket->bucket_bits, ~bit);
	return bit;
}

/* Free a slot. Any CPU may claim it GRACE_TICKS after `since`. */
static __always_inline void release(struct connection *c, u32 slot, u32 since)
{
	union slot_word free = { .reported = since };
	u32 number = slot / 64;
	u64 *word = flowd_used_slots.lookup(&number);

	if (word)
		__sync_fetch_and_and(word, ~(1ULL << (slot & 63)));
	barrier();
	*(volatile u64 *)slot_word_of(c) = free.whole;
}
