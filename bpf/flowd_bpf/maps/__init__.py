"""Read and write the kernel's maps as numpy arrays: rings, hash maps, counters, connection table.

`ring` reads records, `slots` scans the connection table, `connection_table` decides which entries
expire, `evict` removes them by the program flowd_evict, `maps` has hash maps and per-CPU counters.
Takes descriptors from `load`; rows go to flowd.capture. May import `libbpf`, `layout` and `errors`.
"""
