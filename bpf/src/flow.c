/*
 * Connections from tc: one map entry each, counted at the first interface that saw each direction,
 * reported by fixed-size records. The programs let every packet pass to whoever comes next.
 *
 * Exactness under several CPUs. A packet adds to the `bytes` and `packets` of its side atomically.
 * A record takes them out with an atomic exchange by zero and adds what it took to the totals, so a
 * byte is in exactly one record whoever writes them at the same time. The space in the ring is
 * reserved before anything is taken: when the ring is full nothing is, and the next record, or user
 * space when it removes the entry, brings it.
 */
#include <uapi/linux/bpf.h>

#include "budget.h"
#include "config.h"
#include "conns.h"
#include "counters.h"
#include "dns.h"
#include "event.h"
#include "filter.h"
#include "fragment.h"
#include "maps.h"
#include "parse.h"
#include "take.h"
#include "tunnel.h"

#define PASS (-1) /* TCX_NEXT and TC_ACT_UNSPEC */
#define PULL 512  /* bytes made linear for headers that are not */

/* include/linux/skbuff.h: each packet of the list is a segment, and must stay one (SCTP) */
#define GSO_BY_FRAGS 0xffff

static __always_inline bool finished(u64 marks)
{
	u8 a = marks >> MARK_SEEN(0), b = marks >> MARK_SEEN(1);

	return ((a | b) & RST) || (a & b & FIN);
}

static __always_inline u32 endpoint_of(union address *address)
{
	u32 *index = flowd_endpoints.lookup(address);

	return index ? *index : 0;
}

/* Who the network that an address is in belongs to, whatever the address itself is found to be later. */
static __always_inline u32 network_of(union address *address)
{
	struct prefix whole = { .bits = 128, .address = *address };
	u32 *index = flowd_prefixes.lookup(&whole);

	return index ? *index : 0;
}

static __always_inline void take(struct side *side, struct flow_event *event, const u32 way)
{
	u64 bytes = __sync_lock_test_and_set(&side->bytes, 0);
	u64 packets = __sync_lock_test_and_set(&side->packets, 0);

	event->bytes[way] = bytes;
	event->packets[way] = packets;
	event->total_bytes[way] = __sync_fetch_and_add(&side->total_bytes, bytes) + bytes;
	event->total_packets[way] = __sync_fetch_and_add(&side->total_packets, packets) + packets;
}

/*
 * Write a record; `marks` are set once there is space for it, and one that carries nothing new, as
 * another CPU was first, is dropped. Returns whether this CPU set the marks.
 */
static __always_inline bool report(struct connection *c, struct packet *p, u32 reason, u64 marks,
				   u32 now, struct counters *counters)
{
	struct connection_key *key = &p->key;
	u32 forward = c->forward & 1, from = reason == REASON_END ? forward : p->from & 1;
	struct flow_event *event;
	u64 before, owner;
	bool at_once;

	if (p->ring_full == now)
		return false;
	event = flowd_events.ringbuf_reserve(sizeof(*event));
	if (!event) {
		p->ring_full = now;
		counters->count[COUNT_RING_FULL]++;
		return false;
	}
	before = marks ? __sync_fetch_and_or(&c->marks, marks) : c->marks;
	if (marks && (before & marks) == marks) {
		flowd_events.ringbuf_discard(event, BPF_RB_NO_WAKEUP);
		return false;
	}
	if (reason == REASON_NEW && (before & MARK_ANNOUNCED))
		reason = REASON_FLAGS;
	at_once = reason == REASON_NEW && c->reported == now;
	c->reported = now;

	if (!c->endpoint[0])
		c->endpoint[0] = endpoint_of(&key->addr[0]);
	if (!c->endpoint[1])
		c->endpoint[1] = endpoint_of(&key->addr[1]);

	event->time_ns = at_once ? c->first_ns : bpf_ktime_get_ns();
	event->first_ns = c->first_ns;
	event->conn_id = c->conn_id;
	take(&c->side[forward], event, 0);
	take(&c->side[!forward], event, 1);
	__builtin_memcpy(event->src_addr, &key->addr[forward], 16);
	__builtin_memcpy(event->dst_addr, &key->addr[!forward], 16);
	event->src_endpoint = c->endpoint[forward] ?: network_of(&key->addr[forward]);
	event->dst_endpoint = c->endpoint[!forward] ?: network_of(&key->addr[!forward]);
	event->src_port = NET16(key->port[forward]);
	event->dst_port = NET16(key->port[!forward]);
	event->flags_seen[0] = before >> MARK_SEEN(forward);
	event->flags_seen[1] = before >> MARK_SEEN(!forward);
	owner = c->side[from].owner;
	event->ifindex = owner >> 1;
	event->hook = owner & 1;
	event->tunnel = c->tunnel;
	event->protocol = key->protocol;
	event->family = c->family;
	event->reason = reason;
	event->is_reply = from != forward;
	event->initiator = c->initiator;
	event->flags = reason == REASON_END ? 0 : p->flags;
	event->icmp_type = reason == REASON_END ? c->icmp_type : p->icmp_type;
	event->icmp_code = reason == REASON_END ? c->icmp_code : p->icmp_code;
	__builtin_memset(event->pad, 0, sizeof(event->pad));

	if (++counters->count[COUNT_RECORDS] % WAKE_RECORDS)
		flowd_events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	else
		flowd_events.ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
	return true;
}

static __always_inline void fill(struct connection *c, struct packet *p, u32 now,
				 struct counters *counters)
{
	__builtin_memset(&c->side, 0, sizeof(c->side));
	c->key = p->key;
	c->marks = 0;
	c->reported = now;
	c->place = p->place;
	c->forward = p->reversed ? !p->from : p->from;
	c->family = p->family;
	c->first_ns = bpf_ktime_get_ns();
	c->conn_id = (u64)(bpf_get_smp_processor_id() + 1) << 40 | (counters->count[COUNT_CREATED] + 1);
	c->tunnel = 0;
	c->initiator = (p->flags & SYN) ? INITIATOR_SYN : INITIATOR_FIRST_PACKET;
	c->icmp_type = p->icmp_type;
	c->icmp_code = p->icmp_code;
	c->pad = 0;
	c->endpoint[0] = c->endpoint[1] = 0;
	FORGET();
	c->state = SLOT_HELD;
}

/* Let packets find the connection that was put in the slot, if `known` is still all that they find. */
static __always_inline bool announce(struct packet *p, struct connection *home)
{
	u64 with = (p->known | 1ULL << (p->place & 63)) + CAME;
	u64 was = __sync_val_compare_and_swap(&home->home, p->known, with);

	if (was == p->known)
		return true;
	p->known = was;
	FORGET();
	return false;
}

/* The entry of a new connection, made by this CPU or by one that was first; NULL when full. */
static __always_inline struct connection *create(struct packet *p, struct connection *home, u32 now,
						 struct counters *counters)
{
	struct connection *c, *other;

	if (p->table_full == now)
		return NULL;
	c = claim(p, p->home, p->known, PLACES, now);
	if (!c) {
		p->table_full = now;
		return NULL;
	}
	fill(c, p, now, counters);
	if (!announce(p, home)) {
		other = find(p, home);
		if (other || !announce(p, home)) {
			release(c, p->slot, now, 0);
			return other;
		}
	}
	counters->count[COUNT_CREATED]++;
	return c;
}

/*
 * In another slot a connection that is over waits until user space takes it. Any slot will do, as no
 * packet looks for it.
 */
static __always_inline bool set_aside(struct connection *c, struct connection *home,
				      struct packet *p, u32 now, struct counters *counters)
{
	struct connection *other;

	if (__sync_fetch_and_or(&c->marks, MARK_ENDED) & MARK_ENDED)
		return false;
	other = claim(p, spread(mix(HASH_SEED, c->conn_id)), 0, ASIDE_PLACES, now);
	if (!other) {
		__sync_fetch_and_and(&c->marks, ~MARK_ENDED);
		counters->count[COUNT_MERGED]++;
		return false;
	}
	p->known = unlink(c, home);
	other->key = c->key;
	other->marks = c->marks;
	other->reported = c->reported;
	other->forward = c->forward;
	other->family = c->family;
	__builtin_memcpy(&other->side, &c->side,
			 sizeof(*c) - __builtin_offsetof(struct connection, side));
	FORGET();
	other->state = SLOT_ASIDE;
	release(c, place_of(p->home, c->place), now, 0);
	return true;
}

/* Whether the packet is the first of another connection than the one that has its ports. */
static __always_inline bool begins_anew(struct connection *c, struct packet *p)
{
	return (p->flags & (SYN | ACK)) == SYN && finished(c->marks);
}

/* Take a connection that is over out of the way; returns whether that could be. */
static __always_inline bool make_way(struct connection *c, struct connection *home,
				     struct packet *p, u32 now, struct counters *counters)
{
	/* For one whose NEW is not out, an END is not enough. */
	if (!(c->marks & MARK_ANNOUNCED) || !report(c, p, REASON_END, MARK_ENDED, now, counters))
		return set_aside(c, home, p, now, counters);
	counters->count[COUNT_ENDED]++;
	p->known = unlink(c, home);
	release(c, place_of(p->home, c->place), now, 0);
	return true;
}

/* Whether this interface and hook count the side's packets: the first that saw one, while it does. */
static __always_inline bool owns(struct side *side, u64 here, u32 now)
{
	u64 owner = side->owner;

	if (owner == here)
		return true;
	if (owner && now - side->seen < SILENT_TICKS)
		return false;
	return __sync_val_compare_and_swap(&side->owner, owner, here) == owner;
}

static __always_inline void count_packet(struct __sk_buff *skb, struct side *side, u32 headers,
					 u32 now)
{
	u64 segments = skb->gso_segs, tag = skb->vlan_present ? TAG : 0;

	if (!segments && skb->gso_size && skb->len > headers)
		segments = (skb->len - headers + skb->gso_size - 1) / skb->gso_size;
	if (!segments)
		segments = 1;
	if (side->seen != now)
		side->seen = now;
	__sync_fetch_and_add(&side->bytes, skb->len + tag + (segments - 1) * (headers + tag));
	__sync_fetch_and_add(&side->packets, segments);
}

/*
 * Most packets come to a second interface right after the first, on the same CPU. Whoever counted one
 * of this side within this jiffy owns the side, so the table need not be asked; but it is where the
 * tunnel is noted.
 */
static __always_inline bool counted_before(struct packet *p, u64 here, u32 now)
{
	u64 *was = (u64 *)&p->last.key, *is = (u64 *)&p->key;

	return was[0] == is[0] && was[1] == is[1] && was[2] == is[2] && was[3] == is[3] &&
	       was[4] == is[4] && p->last.from == p->from && p->last.now == now &&
	       p->last.here != here && !p->tunnel.kind;
}

static __always_inline int flow(struct __sk_buff *skb, const u32 hook, const u32 l2)
{
	struct counters *counters;
	struct connection *c, *home;
	struct packet *p;
	struct side *side;
	enum parsed parsed = BROKEN;
	u64 here, marks, wanted = 0;
	u32 zero = 0, reason = 0, from, now;

	counters = flowd_counters.lookup(&zero);
	p = flowd_packet.lookup(&zero);
	if (!counters || !p)
		return PASS;
	counters->count[COUNT_SEEN]++;

#pragma clang loop unroll(disable)
	for (u32 attempt = 0; attempt < 2; attempt++) {
		parsed = read_packet(skb, l2, attempt, p);
		if (parsed != CUT_SHORT || attempt || skb->gso_size == GSO_BY_FRAGS)
			break;
		if (bpf_skb_pull_data(skb, skb->len < PULL ? skb->len : PULL))
			break;
	}
	if (parsed != PARSED) {
		counters->count[parsed == NOT_IP ? COUNT_NON_IP : COUNT_MALFORMED]++;
		return PASS;
	}

	now = bpf_jiffies64();
	if (p->fragment)
		follow_fragment(p, now, counters);
	here = (u64)skb->ifindex << 1 | hook;
	if (counted_before(p, here, now)) {
		counters->count[COUNT_ELSEWHERE]++;
		return PASS;
	}
	p->home = home_of(&p->key);
	home = flowd_conns.lookup(&p->home);
	if (!home)
		return PASS;
	p->known = home->home;
	FORGET();
	c = find(p, home);
	if (c && begins_anew(c, p) && make_way(c, home, p, now, counters))
		c = NULL;
	if (!c) {
		if (!chosen(p, counters))
			return PASS;
		c = create(p, home, now, counters);
	}
	if (!c) {
		counters->count[COUNT_MAP_FULL]++;
		return PASS;
	}

	if (p->tunnel.kind && !c->tunnel)
		note_tunnel(c, p, counters);
	from = p->from & 1;
	side = &c->side[from];
	if (!owns(side, here, now)) {
		counters->count[COUNT_ELSEWHERE]++;
		return PASS;
	}
	counters->count[COUNT_COUNTED]++;
	p->last = (struct counted){ .key = p->key, .here = here, .from = from, .now = now };
	count_packet(skb, side, p->headers, now);
	read_dns(skb, p, c->conn_id, hook, counters);

	marks = c->marks;
	if (p->flags & ~(marks >> MARK_REPORTED(from))) {
		u64 seen = (u64)p->flags << MARK_SEEN(from);

		if ((marks & seen) != seen)
			__sync_fetch_and_or(&c->marks, seen);
		wanted = seen << 16;
		reason = REASON_FLAGS;
	}
	if (!(marks & MARK_ANNOUNCED)) {
		wanted |= MARK_ANNOUNCED;
		reason = REASON_NEW;
	} else if (now - c->reported >= ACTIVE_TICKS) {
		reason = reason ?: REASON_ACTIVE;
	} else if (reason && !affordable(now)) {
		reason = 0;
	}
	if (reason)
		report(c, p, reason, wanted, now, counters);
	return PASS;
}

int flowd_in(struct __sk_buff *skb)
{
	return flow(skb, HOOK_INGRESS, ETHERNET);
}

int flowd_out(struct __sk_buff *skb)
{
	return flow(skb, HOOK_EGRESS, ETHERNET);
}

int flowd_in_raw(struct __sk_buff *skb)
{
	return flow(skb, HOOK_INGRESS, 0);
}

int flowd_out_raw(struct __sk_buff *skb)
{
	return flow(skb, HOOK_EGRESS, 0);
}

/* Run by user space, never attached: the clock that `seen` is read from. */
int flowd_clock(struct __sk_buff *skb)
{
	return (u32)bpf_jiffies64();
}
