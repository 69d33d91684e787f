/* Whose a socket is: asked where its process is the one that runs. Part of sockets.c. */
#pragma once

/* Who makes a socket, or lets others connect to it. */
static __always_inline void own(struct socket *s)
{
	s->last.pid = bpf_get_current_pid_tgid() >> 32;
	s->last.cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(s->last.command, sizeof(s->last.command));
}

static __always_inline int connecting(struct bpf_sock_addr *ctx)
{
	struct socket *s;

	if (ctx->type != STREAM || ctx->protocol != TCP || !ctx->sk)
		return ALLOW;
	s = flowd_sockets.sk_storage_get(ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!s) {
		count(SOCKETS_FULL);
		return ALLOW;
	}
	own(s);
	s->began_ns = bpf_ktime_get_ns();
	return ALLOW;
}

int flowd_connect4(struct bpf_sock_addr *ctx)
{
	return connecting(ctx);
}

int flowd_connect6(struct bpf_sock_addr *ctx)
{
	return connecting(ctx);
}

static __always_inline int bound(struct bpf_sock *ctx)
{
	struct socket *s;

	if (ctx->type != STREAM || ctx->protocol != TCP)
		return ALLOW;
	s = flowd_sockets.sk_storage_get(ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (s)
		own(s);
	else
		count(SOCKETS_FULL);
	return ALLOW;
}

int flowd_bind4(struct bpf_sock *ctx)
{
	return bound(ctx);
}

int flowd_bind6(struct bpf_sock *ctx)
{
	return bound(ctx);
}
