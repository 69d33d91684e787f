/*
 * Report TCP sockets: owner process, connect() latency, round-trip times, retransmissions, bytes,
 * and how they ended. Covers every cgroup below the attached one, in all network namespaces.
 *
 * State lies in socket storage (BPF_MAP_TYPE_SK_STORAGE), which the kernel frees with the socket;
 * an accepted socket starts with a copy of its listener's. The programs change nothing and allow
 * all.
 *
 * sock_ops callbacks run under the socket's lock, so the storage needs no atomics. The tracepoints
 * read one field of the kernel's struct sock, at an offset that user space takes from BTF.
 */
#include <uapi/linux/bpf.h>
#include <linux/types.h>

#include "budget.h"
#include "records/socket.h"

#ifndef SOCKET_RING_BYTES
#define SOCKET_RING_BYTES (2 << 20)
#endif

#ifndef ACTIVE_TICKS
#define ACTIVE_TICKS (5 * TICKS) /* between records of an active socket */
#endif

#ifndef ESTABLISHED_TICKS
#define ESTABLISHED_TICKS (TICKS / 2) /* until an active socket reports a suppressed ESTABLISHED */
#endif

#ifndef RETRANSMIT_TICKS
#define RETRANSMIT_TICKS TICKS /* between SOCKET_RETRANSMIT records of one socket */
#endif

#ifndef WAKE_RECORDS
#define WAKE_RECORDS 1024
#endif

#define AF_INET6 10
#define SOCK_STREAM 1
#define TCP 6
#define ALLOW 1

/* enum tcp_states of the kernel (include/net/tcp_states.h), by the names that BPF exports */
#define SYN_SENT BPF_TCP_SYN_SENT
#define FIN_WAIT2 BPF_TCP_FIN_WAIT2
#define CLOSE BPF_TCP_CLOSE
#define CLOSE_WAIT BPF_TCP_CLOSE_WAIT
#define LAST_ACK BPF_TCP_LAST_ACK
#define CLOSING BPF_TCP_CLOSING

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define V4MAPPED 0xffff0000U
#define NET32(x) __builtin_bswap32(x)
#else
#define V4MAPPED 0x0000ffffU
#define NET32(x) (x)
#endif

#define CALLBACKS                                                                \
	(BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG |             \
	 BPF_SOCK_OPS_RTT_CB_FLAG)

/* Socket storage: the last record, and the state that the next one needs. */
struct socket_state {
	struct socket_event last;
	u64 began_ns;		    /* time of connect() */
	u64 received_at_half_close; /* bytes received when the peer acknowledged our FIN */
	u32 retransmits_before;	    /* retransmissions before establishment */
	u32 retransmits;	    /* total, as of the last SOCKET_RETRANSMIT */
	u32 reported;		    /* jiffies of the last record */
	u32 retransmitted;	    /* jiffies of the last SOCKET_RETRANSMIT */
	u8 connecting;		    /* a SYN was sent; stays set after establishment */
	u8 established;		    /* stays set after the close */
	u8 established_pending;	    /* no record has reported the establishment yet */
	u8 closed;
	u8 fin_acked;	 /* the kernel's bytes_acked includes our FIN */
	u8 fin_received; /* the kernel's bytes_received includes the peer's FIN */
	u8 half_closed;
	u8 reset_sent;
	u8 reset_received;
};

BPF_F_TABLE("sk_storage", int, struct socket_state, flowd_sockets, 0,
	    BPF_F_NO_PREALLOC | BPF_F_CLONE);
BPF_TABLE("percpu_array", u32, struct socket_counters, flowd_socket_counters, 1);
/* 1 when flowd_sock_state is attached: it reports failed connects, since it has their errno. */
BPF_TABLE("array", u32, u32, flowd_socket_errors, 1);
BPF_RINGBUF_OUTPUT(flowd_socket_events, SOCKET_RING_BYTES / PAGE_SIZE);

static __always_inline void count_socket(const u32 counter)
{
	struct socket_counters *counters;
	u32 zero = 0;

	counters = flowd_socket_counters.lookup(&zero);
	if (counters)
		counters->count[counter]++;
}

/* Write s->last as a record. */
static __always_inline void emit(struct socket_state *s, u8 reason, u32 retransmits, u8 error)
{
	struct socket_counters *counters;
	struct socket_event *event;
	u32 zero = 0;

	counters = flowd_socket_counters.lookup(&zero);
	if (!counters)
		return;
	event = flowd_socket_events.ringbuf_reserve(sizeof(*event));
	if (!event) {
		counters->count[SOCKETS_RING_FULL]++;
		return;
	}
	__builtin_memcpy(event, &s->last, sizeof(*event));
	event->time_ns = bpf_ktime_get_ns();
	event->retransmits = retransmits;
	event->reason = reason;
	event->error = error;
	if (++counters->count[SOCKETS_RECORDS] % WAKE_RECORDS)
		flowd_socket_events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	else
		flowd_socket_events.ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
}

#include "owner.h"

/* Reset the state of a reused or new socket, except its owner and the time of connect(). */
static __always_inline void init_socket(struct bpf_sock_ops *ctx, struct socket_state *s, u8 role)
{
	u32 *local = (u32 *)s->last.local_addr, *remote = (u32 *)s->last.remote_addr;

	s->last.cookie = bpf_get_socket_cookie(ctx);
	s->last.role = role;
	s->last.bytes_acked = s->last.bytes_received = s->last.connect_ns = 0;
	s->last.srtt_us = s->last.min_rtt_us = s->last.retransmits = 0;
	s->received_at_half_close = 0;
	s->retransmits_before = s->retransmits = s->reported = s->retransmitted = 0;
	s->connecting = s->established = s->established_pending = s->closed = 0;
	s->fin_acked = s->fin_received = 0;
	s->half_closed = s->reset_sent = s->reset_received = 0;
	if (ctx->family == AF_INET6) {
		local[0] = ctx->local_ip6[0];
		local[1] = ctx->local_ip6[1];
		local[2] = ctx->local_ip6[2];
		local[3] = ctx->local_ip6[3];
		remote[0] = ctx->remote_ip6[0];
		remote[1] = ctx->remote_ip6[1];
		remote[2] = ctx->remote_ip6[2];
		remote[3] = ctx->remote_ip6[3];
	} else {
		local[0] = local[1] = remote[0] = remote[1] = 0;
		local[2] = remote[2] = V4MAPPED;
		local[3] = ctx->local_ip4;
		remote[3] = ctx->remote_ip4;
	}
	s->last.family = remote[2] == V4MAPPED && !remote[0] && !remote[1] ? 4 : 6;
	s->last.local_port = ctx->local_port;
	s->last.remote_port = NET32(ctx->remote_port);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | CALLBACKS);
}

/*
 * Read the kernel's counters as payload bytes. The kernel also counts a byte for the acknowledged
 * SYN of a connecting socket and for a FIN in either direction, which are subtracted.
 */
static __always_inline void read_counters(struct bpf_sock_ops *ctx, struct socket_state *s)
{
	u64 acked = ctx->bytes_acked, received = ctx->bytes_received;
	u32 fins = s->fin_acked + (s->last.role == ROLE_CONNECTED);
	u32 min_rtt = ctx->rtt_min;

	s->last.bytes_acked = acked > fins ? acked - fins : 0;
	s->last.bytes_received = received > s->fin_received ? received - s->fin_received : 0;
	s->last.srtt_us = ctx->srtt_us >> 3;
	s->last.min_rtt_us = min_rtt == ~0U ? 0 : min_rtt;
	s->last.retransmits = ctx->total_retrans - s->retransmits_before;
}

/* Report retransmissions since the last SOCKET_RETRANSMIT. */
static __always_inline void report_retransmits(struct bpf_sock_ops *ctx, struct socket_state *s)
{
	u32 total = ctx->total_retrans;

	if (total == s->retransmits)
		return;
	emit(s, SOCKET_RETRANSMIT, total - s->retransmits, 0);
	s->retransmits = total;
}

static __always_inline void on_established(struct bpf_sock_ops *ctx, struct socket_state *s)
{
	u32 now = bpf_jiffies64();

	report_retransmits(ctx, s);
	s->retransmits_before = s->retransmits;
	s->established = 1;
	s->reported = now;
	if (s->last.role == ROLE_CONNECTED && s->began_ns)
		s->last.connect_ns = bpf_ktime_get_ns() - s->began_ns;
	if (!within_rate(now)) {
		s->established_pending = 1;
		return;
	}
	read_counters(ctx, s);
	emit(s, SOCKET_ESTABLISHED, 0, 0);
}

static __always_inline void on_state_change(struct bpf_sock_ops *ctx, struct socket_state *s,
					    u32 old, u32 now)
{
	u32 zero = 0, *errors_traced;
	u8 also = 0;
	bool no_reset;

	if (now == CLOSE_WAIT || now == CLOSING) {
		s->fin_received = 1;
	} else if (now == FIN_WAIT2) {
		s->fin_acked = s->half_closed = 1;
		s->received_at_half_close = ctx->bytes_received;
	}
	if (now != CLOSE)
		return;
	if (s->connecting && !s->established) {
		report_retransmits(ctx, s);
		s->last.retransmits = ctx->total_retrans;
		errors_traced = flowd_socket_errors.lookup(&zero);
		if (errors_traced && !*errors_traced) {
			s->connecting = 0;
			emit(s, SOCKET_FAILED, s->last.retransmits, 0);
		}
		return;
	}
	if (!s->established || s->closed)
		return;
	s->closed = 1;
	no_reset = !s->reset_received && !s->reset_sent;
	if ((old == CLOSING || old == LAST_ACK) && ctx->snd_una == ctx->snd_nxt && no_reset)
		s->fin_acked = 1;
	if (old == FIN_WAIT2 && no_reset && s->half_closed &&
	    ctx->bytes_received != s->received_at_half_close)
		s->fin_received = 1;
	read_counters(ctx, s);
	report_retransmits(ctx, s);
	if (s->established_pending)
		also |= ALSO_ESTABLISHED;
	if (s->reset_received)
		also |= ALSO_RESET_RECEIVED;
	emit(s, SOCKET_CLOSED | also, s->last.retransmits, 0);
}

int flowd_sock_ops(struct bpf_sock_ops *ctx)
{
	u32 op = ctx->op, now, flags = 0;
	struct bpf_sock *sk = ctx->sk;
	struct socket_state *s;

	if (op != BPF_SOCK_OPS_RTT_CB && op != BPF_SOCK_OPS_STATE_CB &&
	    op != BPF_SOCK_OPS_RETRANS_CB && op != BPF_SOCK_OPS_TCP_CONNECT_CB &&
	    op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return ALLOW;
	if (!sk)
		return ALLOW;
	if (op == BPF_SOCK_OPS_TCP_CONNECT_CB || op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		flags = BPF_SK_STORAGE_GET_F_CREATE;
	s = flowd_sockets.sk_storage_get(sk, 0, flags);
	if (!s) {
		if (flags)
			count_socket(SOCKETS_FULL);
		return ALLOW;
	}
	switch (op) {
	case BPF_SOCK_OPS_RTT_CB:
		now = bpf_jiffies64();
		if (!s->established ||
		    now - s->reported < (s->established_pending ? ESTABLISHED_TICKS : ACTIVE_TICKS))
			break;
		s->reported = now;
		read_counters(ctx, s);
		report_retransmits(ctx, s);
		emit(s, s->established_pending ? SOCKET_ESTABLISHED : SOCKET_UPDATE,
		     s->last.retransmits, 0);
		s->established_pending = 0;
		break;
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		init_socket(ctx, s, ROLE_CONNECTED);
		s->connecting = 1;
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		if (s->connecting) /* not set on a simultaneous open (RFC 9293, section 3.5) */
			on_established(ctx, s);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		init_socket(ctx, s, ROLE_ACCEPTED);
		on_established(ctx, s);
		break;
	case BPF_SOCK_OPS_RETRANS_CB:
		now = bpf_jiffies64();
		if (s->retransmitted && now - s->retransmitted < RETRANSMIT_TICKS)
			break;
		s->retransmitted = now | 1;
		s->last.retransmits = ctx->total_retrans - s->retransmits_before;
		report_retransmits(ctx, s);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		on_state_change(ctx, s, ctx->args[0], ctx->args[1]);
		break;
	}
	return ALLOW;
}

/* Tracepoint inet_sock_set_state(sk, old, new): report a failed connect() with its errno. */
int flowd_sock_state(u64 *arguments)
{
	void *sk = (void *)arguments[0];
	u32 old = arguments[1], new = arguments[2];
	struct socket_state *s;

	if (old != SYN_SENT || new != CLOSE)
		return 0;
	s = flowd_sockets.sk_storage_get(sk, 0, 0);
	if (!s || !s->connecting || s->established)
		return 0;
	s->connecting = 0;
	emit(s, SOCKET_FAILED, s->last.retransmits, *(u32 *)(sk + OFF_SOCK_SK_ERR));
	return 0;
}

/* Tracepoint tcp_send_reset(sk, ...): sk is null for a packet without a socket. */
int flowd_reset_out(u64 *arguments)
{
	void *sk = (void *)arguments[0];
	struct socket_state *s;

	if (!sk)
		return 0;
	s = flowd_sockets.sk_storage_get(sk, 0, 0);
	if (!s || !s->established || s->reset_sent)
		return 0;
	s->reset_sent = 1;
	emit(s, SOCKET_RESET_SENT, s->last.retransmits, 0);
	return 0;
}

/* Tracepoint tcp_receive_reset(sk). */
int flowd_reset_in(u64 *arguments)
{
	void *sk = (void *)arguments[0];
	struct socket_state *s;

	if (!sk)
		return 0;
	s = flowd_sockets.sk_storage_get(sk, 0, 0);
	if (!s || !s->established || s->reset_received)
		return 0;
	s->reset_received = 1;
	if (s->closed) /* else the SOCKET_CLOSED record that follows at once reports it */
		emit(s, SOCKET_RESET_RECEIVED, s->last.retransmits, 0);
	return 0;
}
