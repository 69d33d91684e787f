/* Settings: the loader gives each as -D, and these are the defaults. */
#pragma once

#ifndef MAX_CONNECTIONS
#define MAX_CONNECTIONS 131072
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

#ifndef WAKE_RECORDS
#define WAKE_RECORDS 1024 /* on one CPU, until the reader is woken before its own time */
#endif
