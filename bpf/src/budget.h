/*
 * Records that tell how a connection goes on between its beginning and its end: so many a second on
 * each CPU. What is above that waits for the connection's next record, which has it too.
 */
#pragma once

#ifndef DETAIL_RECORDS
#define DETAIL_RECORDS 1000
#endif

struct budget {
	u32 began; /* jiffies */
	u32 left;
};
BPF_TABLE("percpu_array", u32, struct budget, flowd_budget, 1);

static __always_inline bool affordable(u32 now)
{
	struct budget *budget;
	u32 zero = 0;

	budget = flowd_budget.lookup(&zero);
	if (!budget)
		return false;
	if (now - budget->began >= TICKS) {
		budget->began = now;
		budget->left = DETAIL_RECORDS;
	}
	if (!budget->left)
		return false;
	budget->left--;
	return true;
}
