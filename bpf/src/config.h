/* Compile-time settings and their defaults; the loader overrides any of them by -D. */
#pragma once

#ifndef MAX_CONNECTIONS
#define MAX_CONNECTIONS 131072
#endif

#define SLOTS (MAX_CONNECTIONS + MAX_CONNECTIONS / 2) /* of the table, never all in use */

#ifndef HASH_SEED
#define HASH_SEED 0 /* the agent sets 32 random bits, so that no sender can aim at a bucket */
#endif

#ifndef MAX_ENDPOINTS
#define MAX_ENDPOINTS 65536
#endif

#ifndef RING_BYTES
#define RING_BYTES (4 << 20) /* a power of two, at least a page */
#endif

#ifndef TICKS
#define TICKS 250 /* jiffies a second of the running kernel */
#endif

#ifndef ACTIVE_TICKS
#define ACTIVE_TICKS (5 * TICKS) /* between records of a connection that has packets */
#endif

#ifndef TAKEOVER_TICKS
#define TAKEOVER_TICKS (2 * TICKS) /* without a packet, until another interface may count */
#endif

#ifndef GRACE_TICKS
#define GRACE_TICKS 2 /* until a freed slot is reused: another CPU may still hold a pointer to it */
#endif

#ifndef WAKE_RECORDS
#define WAKE_RECORDS 1024 /* of one CPU, until it wakes the reader ahead of its poll interval */
#endif

#ifndef MAX_TUNNELS
#define MAX_TUNNELS 8192 /* outer address pairs by VNI and kind; entries are never removed */
#endif

#ifndef MAX_PREFIXES
#define MAX_PREFIXES 16384
#endif

#ifndef MAX_FILTER_CIDRS
#define MAX_FILTER_CIDRS 4096
#endif

#ifndef MAX_FRAGMENTED
#define MAX_FRAGMENTED 4096 /* datagrams whose later fragments are known */
#endif

#ifndef FRAGMENT_TICKS
#define FRAGMENT_TICKS (30 * TICKS) /* lifetime of an entry, as Linux waits for a datagram */
#endif

/* UDP ports of tunnels in the lower 16 bits, tunnel_kind in the upper; 0 is none. */
#ifndef TUNNEL_0
#define TUNNEL_0 0x112b5 /* VXLAN on 4789 */
#define TUNNEL_1 0x12118 /* VXLAN on 8472 */
#define TUNNEL_2 0x217c1 /* Geneve on 6081 */
#define TUNNEL_3 0
#endif
