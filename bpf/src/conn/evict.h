/*
 * Evict connections from the table for user space (program flowd_evict), at most EVICT_BATCH a run.
 *
 * User space chose the entries from an earlier read of the table. An entry stays if its slot holds
 * another connection by now, or, with EVICT_IF_IDLE, if a packet came since.
 *
 * First every requested entry is unlinked, then all are copied out. A CPU that found an entry
 * before it was unlinked has finished with it by the time of the copy. A packet in between creates
 * a new entry.
 */
#pragma once

#include "conn/table.h"
#include "records/event.h"
#include "maps.h"

#define EVICT_DATA_OFFSET 16 /* of the first request: behind a link header, and aligned */

/* Unlink the entry of a request; false when it stays. */
static __always_inline bool start_eviction(struct eviction *request)
{
	struct connection *c = flowd_conns.lookup(&request->slot), *bucket;
	u32 number;

	if (!c || c->conn_id != request->value.conn_id)
		return false;
	if (request->mode == EVICT_IF_IDLE && (c->side[0].seen != request->value.side[0].seen ||
					       c->side[1].seen != request->value.side[1].seen))
		return false;
	/* No lookup finds a detached entry, so there is nothing to unlink. */
	if (c->state == SLOT_DETACHED)
		return true;
	if (c->state != SLOT_USED || __sync_fetch_and_or(&c->marks, MARK_ENDED) & MARK_ENDED)
		return false;
	number = bucket_of(&c->key);
	bucket = flowd_conns.lookup(&number);
	if (bucket)
		unlink(c, bucket);
	return true;
}

/* Copy the entry with its last numbers into the request, and free its slot. */
static __always_inline void copy_out(struct eviction *request, u32 now)
{
	struct connection *c = flowd_conns.lookup(&request->slot);

	if (!c)
		return;
	__builtin_memcpy(&request->value, c, sizeof(*c));
	release(c, request->slot, now);
}

/* Run by user space, never attached, on a "packet" of struct eviction. */
int flowd_evict(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *after = (void *)(long)skb->data_end;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < EVICT_BATCH; i++) {
		struct eviction *request = data + EVICT_DATA_OFFSET + i * sizeof(*request);

		if ((void *)(request + 1) > after || !request->mode)
			break;
		if (!start_eviction(request))
			request->mode = 0;
	}
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < EVICT_BATCH; i++) {
		struct eviction *request = data + EVICT_DATA_OFFSET + i * sizeof(*request);

		if ((void *)(request + 1) > after)
			break;
		if (request->mode)
			copy_out(request, bpf_jiffies64());
	}
	return 0;
}
