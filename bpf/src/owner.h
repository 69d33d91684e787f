/* Programs for connect() and bind(): note the process, cgroup and command that own a TCP socket. */
#pragma once

/* The running process is the owner: connect() and bind() run in it. Included by sockets.c. */
static __always_inline void record_owner(struct socket_state *s)
{
	s->last.pid = bpf_get_current_pid_tgid() >> 32;
	s->last.cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(s->last.command, sizeof(s->last.command));
}

static __always_inline int on_connect(struct bpf_sock_addr *ctx)
{
	struct socket_state *s;

	if (ctx->type != SOCK_STREAM || ctx->protocol != TCP || !ctx->sk)
		return ALLOW;
	s = flowd_sockets.sk_storage_get(ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!s) {
		count_socket(SOCKETS_FULL);
		return ALLOW;
	}
	record_owner(s);
	s->began_ns = bpf_ktime_get_ns();
	return ALLOW;
}

int flowd_connect4(struct bpf_sock_addr *ctx)
{
	return on_connect(ctx);
}

int flowd_connect6(struct bpf_sock_addr *ctx)
{
	return on_connect(ctx);
}

static __always_inline int on_bind(struct bpf_sock *ctx)
{
	struct socket_state *s;

	if (ctx->type != SOCK_STREAM || ctx->protocol != TCP)
		return ALLOW;
	s = flowd_sockets.sk_storage_get(ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (s)
		record_owner(s);
	else
		count_socket(SOCKETS_FULL);
	return ALLOW;
}

int flowd_bind4(struct bpf_sock *ctx)
{
	return on_bind(ctx);
}

int flowd_bind6(struct bpf_sock *ctx)
{
	return on_bind(ctx);
}
