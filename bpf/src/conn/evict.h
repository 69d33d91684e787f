/*
 * User space takes out entries that it found to be over. Between its look at the table and this, one
 * may have come alive, or have made way for a new connection with the same ports; then it stays.
 *
 * First all that are asked for are made such that no packet finds them, and then they are copied: a CPU
 * that had found one before is done with it by then. A packet that comes in between begins a new entry.
 */
#pragma once

#include "conn/table.h"
#include "records/event.h"
#include "maps.h"

#define TAKE_AT 16 /* what is asked for begins here: behind a link header, and aligned */

static __always_inline bool end(struct taken *asked)
{
	struct connection *c = flowd_conns.lookup(&asked->slot), *home;
	u32 number;

	if (!c || c->conn_id != asked->value.conn_id)
		return false;
	if (asked->how == TAKE_SILENT && (c->side[0].seen != asked->value.side[0].seen ||
					  c->side[1].seen != asked->value.side[1].seen))
		return false;
	/* Of one that was set aside nobody else knows. */
	if (c->state == SLOT_ASIDE)
		return true;
	if (c->state != SLOT_HELD || __sync_fetch_and_or(&c->marks, MARK_ENDED) & MARK_ENDED)
		return false;
	number = home_of(&c->key);
	home = flowd_conns.lookup(&number);
	if (home)
		unlink(c, home);
	return true;
}

static __always_inline void hand_over(struct taken *asked, u32 now)
{
	struct connection *c = flowd_conns.lookup(&asked->slot);

	if (!c)
		return;
	__builtin_memcpy(&asked->value, c, sizeof(*c));
	release(c, asked->slot, now);
}

/* Run by user space, never attached, on a "packet" of struct taken. */
int flowd_take(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *after = (void *)(long)skb->data_end;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < TAKE_MOST; i++) {
		struct taken *asked = data + TAKE_AT + i * sizeof(*asked);

		if ((void *)(asked + 1) > after || !asked->how)
			break;
		if (!end(asked))
			asked->how = 0;
	}
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < TAKE_MOST; i++) {
		struct taken *asked = data + TAKE_AT + i * sizeof(*asked);

		if ((void *)(asked + 1) > after)
			break;
		if (asked->how)
			hand_over(asked, bpf_jiffies64());
	}
	return 0;
}
