/*
 * The table of connections: an array of slots with a hash table in it, as what a packet costs here is
 * memory that is not in a cache. A packet of a connection that is known touches two lines, both in one
 * page; the kernel's own hash map has its bucket and its entry in two pages, and three lines or four.
 *
 * A key has a home, the slot that its hash names, and PLACES slots where it may be: first its home, then
 * others that follow from the home's number alone, as if by chance. Bit n of the word `home` in the slot
 * says that at place n there is a connection that has its home here, so a packet looks at no other place
 * and a new connection needs to look at one slot to know that it is new. What is above these bits counts
 * the connections that came.
 *
 * Nobody waits. A slot is claimed by the CPU that changes its state from SLOT_FREE, filled, and then
 * made known by changing the word `home`, provided that it is what it was when the key was not found: so
 * of CPUs that do this for one key at once all but one find that it is there. Who takes a connection out
 * has first set MARK_ENDED in it, removes its bit, and last of all frees the slot.
 */
#pragma once

#include "maps.h"
#include "packet/parse.h"

#define PLACES 24
#define PLACES_SET ((1ULL << PLACES) - 1)
#define CAME (1ULL << PLACES)

/* A slot of any of `SLOTS`, as even as the bits of the hash. */
static __always_inline u32 spread(u32 hash)
{
	return (u64)hash * SLOTS >> 32;
}

static __always_inline u32 home_of(struct connection_key *key)
{
	u64 *word = (u64 *)key, hash = HASH_SEED;

#pragma clang loop unroll(full)
	for (u32 i = 0; i < sizeof(*key) / sizeof(*word); i++) {
		hash = (hash ^ word[i]) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 32;
	}
	return spread(hash * 0xd6e8feb86659fd93ULL >> 32);
}

static __always_inline u32 place_of(u32 home, u32 place)
{
	u32 hash = home * 0x9e3779b1U + place * 0x85ebca6bU;

	hash = (hash ^ hash >> 15) * 0xc2b2ae35U;
	return place ? spread(hash ^ hash >> 16) : home;
}

static __always_inline bool same_key(struct connection_key *one, struct connection_key *other)
{
	u64 *a = (u64 *)one, *b = (u64 *)other;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4];
}

/* Whether a packet with that key is to be counted here: not when somebody is just taking it out. */
static __always_inline bool goes_to(struct connection *c, struct connection_key *key)
{
	return same_key(&c->key, key) && !(c->marks & MARK_ENDED);
}

/* struct connection from `reported` to `family`, to be changed at once. */
union hold {
	u64 whole;
	struct {
		u32 reported;
		u8 state[4];
	};
};

static __always_inline u64 *hold_of(struct connection *c)
{
	return (u64 *)&c->reported;
}

/* The connection that the packet is of, one of those that have their home in that slot; or NULL. */
static __always_inline struct connection *find(struct packet *p, struct connection *home)
{
	u64 known = p->known;

	if (known & 1 && goes_to(home, &p->key))
		return home;
#pragma clang loop unroll(disable)
	for (u32 place = 1; place < PLACES; place++) {
		struct connection *c;
		u32 slot;

		known = known >> 1 & PLACES_SET >> 1;
		if (!known)
			break;
		if (!(known & 1))
			continue;
		slot = place_of(p->home, place);
		c = flowd_conns.lookup(&slot);
		if (c && goes_to(c, &p->key))
			return c;
	}
	return NULL;
}

/* A free slot for one more of those that have their home there, which is then claimed; or NULL. */
static __always_inline struct connection *claim(struct packet *p, u32 now)
{
#pragma clang loop unroll(disable)
	for (u32 place = 0; place < PLACES; place++) {
		union hold is, claimed;
		u64 *word;
		struct connection *c;
		u32 slot;

		if (p->known >> place & 1)
			continue;
		slot = place_of(p->home, place);
		c = flowd_conns.lookup(&slot);
		if (!c)
			break;
		is.whole = *hold_of(c);
		if (*(u32 *)is.state || now - is.reported < REST_TICKS)
			continue;
		claimed = is;
		claimed.state[0] = SLOT_CLAIMED;
		if (__sync_val_compare_and_swap(hold_of(c), is.whole, claimed.whole) != is.whole)
			continue;
		p->place = place;
		p->slot = slot;
		slot /= 64;
		word = flowd_held.lookup(&slot);
		if (word)
			__sync_fetch_and_or(word, 1ULL << (p->slot & 63));
		return c;
	}
	return NULL;
}

/* Make it one that packets do not find; returns its bit. */
static __always_inline u64 unlink(struct connection *c, struct connection *home)
{
	u64 bit = 1ULL << (c->place & 63);

	__sync_fetch_and_and(&home->home, ~bit);
	return bit;
}

/* Let anybody claim the slot, when it has rested since then. */
static __always_inline void release(struct connection *c, u32 slot, u32 since)
{
	union hold free = { .reported = since };
	u32 number = slot / 64;
	u64 *word = flowd_held.lookup(&number);

	if (word)
		__sync_fetch_and_and(word, ~(1ULL << (slot & 63)));
	FORGET();
	*(volatile u64 *)hold_of(c) = free.whole;
}
