/*
 * Rate limiter of detail records, those between a connection's first and last: DETAIL_RECORDS a
 * second on each CPU, by a fixed window. The connection's next record carries what a suppressed one
 * had.
 */
#pragma once

#ifndef DETAIL_RECORDS
#define DETAIL_RECORDS 1000
#endif

struct budget {
	u32 window_start; /* jiffies */
	u32 left;
};
BPF_TABLE("percpu_array", u32, struct budget, flowd_budget, 1);

static __always_inline bool within_rate(u32 now)
{
	struct budget *budget;
	u32 zero = 0;

	budget = flowd_budget.lookup(&zero);
	if (!budget)
		return false;
	if (now - budget->window_start >= TICKS) {
		budget->window_start = now;
		budget->left = DETAIL_RECORDS;
	}
	if (!budget->left)
		return false;
	budget->left--;
	return true;
}
