/*
 * User space takes out entries that it found to be over. Between its look at the table and this, one
 * may have come alive, or have made way for a new connection with the same ports; then it stays.
 */
#pragma once

#include "event.h"
#include "maps.h"

#define TAKE_AT 16 /* what is asked for begins here: behind a link header, and aligned */

static __always_inline bool take_out(struct taken *asked)
{
	struct connection *c = flowd_conns.lookup(&asked->key);

	if (!c || c->conn_id != asked->value.conn_id)
		return false;
	if (asked->value.taken == TAKE_SILENT && (c->side[0].seen != asked->value.side[0].seen ||
						  c->side[1].seen != asked->value.side[1].seen))
		return false;
	/* Of one that was set aside nobody else knows. */
	if (!asked->key.pad[0] && __sync_fetch_and_or(&c->marks, MARK_ENDED) & MARK_ENDED)
		return false;
	__builtin_memcpy(&asked->value, c, sizeof(*c));
	asked->value.taken = TAKE_ANYHOW;
	return !flowd_conns.delete(&asked->key);
}

/* Run by user space, never attached, on a "packet" of struct taken. */
int flowd_take(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < TAKE_MOST; i++) {
		struct taken *asked = data + TAKE_AT + i * sizeof(*asked);

		if ((void *)(asked + 1) > end || !asked->value.taken)
			break;
		if (!take_out(asked))
			asked->value.taken = 0;
	}
	return 0;
}
