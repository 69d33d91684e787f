/*
 * Counters of the flow programs, per CPU (map flowd_counters).
 *
 * COUNT_SEEN is the sum of COUNT_COUNTED to COUNT_UNSAMPLED; these eight count packets.
 */
#pragma once

enum counter {
	COUNT_SEEN,
	COUNT_COUNTED,
	COUNT_DUPLICATE, /* counted at another interface or hook */
	COUNT_NON_IP,
	COUNT_MALFORMED, /* headers truncated, invalid, or too many IPv6 extensions */
	COUNT_MAP_FULL,
	COUNT_FILTERED,	 /* of connections that the filter denies */
	COUNT_UNSAMPLED, /* of connections outside the sample */

	COUNT_FRAGMENT_UNKNOWN, /* later fragments without a first one; also counted above */
	COUNT_RING_FULL,	/* records not written; the next one carries their counts */
	COUNT_RECORDS,		/* records written */
	COUNT_CREATED,		/* connections */
	COUNT_ENDED,		/* connections that a program ended for a reuse of the tuple */
	COUNT_TUNNEL_UNNAMED,	/* connections whose tunnel has no entry in flowd_tunnels */
	COUNT_DNS_RING_FULL,	/* DNS records not written */
	COUNTERS,
};

struct counters {
	__u64 count[COUNTERS];
};
