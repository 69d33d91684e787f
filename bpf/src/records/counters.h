/*
 * What the programs count, one slot a CPU.
 *
 * COUNT_SEEN is the sum of COUNT_COUNTED to COUNT_UNSAMPLED; all eight are packets.
 */
#pragma once

enum counter {
	COUNT_SEEN,
	COUNT_COUNTED,
	COUNT_ELSEWHERE, /* counted at another interface */
	COUNT_NON_IP,
	COUNT_MALFORMED, /* headers cut short, broken, or too many IPv6 extensions */
	COUNT_MAP_FULL,
	COUNT_FILTERED,	 /* of connections that the filter leaves out */
	COUNT_UNSAMPLED, /* of connections that are not in the sample */

	COUNT_FRAGMENT_UNKNOWN, /* later fragments before their first; counted above, without ports */
	COUNT_RING_FULL, /* records that had to wait; their bytes and packets are in the next one */
	COUNT_RECORDS,	 /* records written */
	COUNT_CREATED,	 /* connections */
	COUNT_ENDED,	 /* connections ended by the program, a new one having taken their place */
	COUNT_TUNNEL_UNNAMED, /* connections whose tunnel found no place in flowd_tunnels */
	COUNT_DNS_RING_FULL, /* stretches of DNS payload without space in their ring */
	COUNTERS,
};

struct counters {
	__u64 count[COUNTERS];
};
