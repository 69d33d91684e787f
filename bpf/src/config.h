/* Settings: the loader gives each as -D, and these are the defaults. */
#pragma once

#ifndef MAX_CONNECTIONS
#define MAX_CONNECTIONS 131072
#endif

#define SLOTS (MAX_CONNECTIONS + MAX_CONNECTIONS / 2) /* of the table: they are never all in use */

#ifndef HASH_SEED
#define HASH_SEED 0 /* what the sender of packets must not know, 32 bits */
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

#ifndef SILENT_TICKS
#define SILENT_TICKS (2 * TICKS) /* until another interface may count in the owner's place */
#endif

#ifndef REST_TICKS
#define REST_TICKS 2 /* until a slot of the table is used again: a CPU may just have found it in use */
#endif

#ifndef WAKE_RECORDS
#define WAKE_RECORDS 1024 /* on one CPU, until the reader is woken before its own time */
#endif

#ifndef MAX_TUNNELS
#define MAX_TUNNELS 8192 /* pairs of outer addresses, by network; they are never forgotten */
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
#define FRAGMENT_TICKS (30 * TICKS) /* for which they are: as long as Linux waits for them */
#endif

/* UDP ports of tunnels, with their tunnel_kind above the lower 16 bits; 0 is none. */
#ifndef TUNNEL_0
#define TUNNEL_0 0x112b5 /* VXLAN on 4789 */
#define TUNNEL_1 0x12118 /* VXLAN on 8472 */
#define TUNNEL_2 0x217c1 /* Geneve on 6081 */
#define TUNNEL_3 0
#endif
