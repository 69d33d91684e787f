/*
 * User space takes out entries that it found to be over. Between its look at the table and this, one
 * may have come alive, or have made way for a new connection with the same ports; then it stays.
 */
#pragma once

#include "conns.h"
#include "event.h"

#define TAKE_AT 16 /* what is asked for begins here: behind a link header, and aligned */

static __always_inline bool take_out(struct taken *asked)
{
	struct connection *c = flowd_conns.lookup(&asked->slot), *home;
	u32 now = bpf_jiffies64(), number;
	u8 state;

	if (!c)
		return false;
	state = c->state;
	if ((state != SLOT_HELD && state != SLOT_ASIDE) || c->conn_id != asked->value.conn_id)
		return false;
	if (asked->how == TAKE_SILENT && (c->side[0].seen != asked->value.side[0].seen ||
					  c->side[1].seen != asked->value.side[1].seen))
		return false;
	/* Of one that was set aside nobody else knows. */
	if (state == SLOT_HELD) {
		if (__sync_fetch_and_or(&c->marks, MARK_ENDED) & MARK_ENDED)
			return false;
		number = home_of(&c->key);
		home = flowd_conns.lookup(&number);
		if (home)
			unlink(c, home);
	}
	__builtin_memcpy(&asked->value, c, sizeof(*c));
	release(c, asked->slot, now, REST_TICKS);
	return true;
}

/* Run by user space, never attached, on a "packet" of struct taken. */
int flowd_take(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < TAKE_MOST; i++) {
		struct taken *asked = data + TAKE_AT + i * sizeof(*asked);

		if ((void *)(asked + 1) > end || !asked->how)
			break;
		if (!take_out(asked))
			asked->how = 0;
	}
	return 0;
}
