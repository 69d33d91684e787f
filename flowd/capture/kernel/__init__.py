"""Kernel side of the capture: attach the programs of `flowd_bpf`, read their maps and rings.

`source.KernelCapture` owns the other parts: connections, drops, sockets, tunnels, interfaces, the
endpoints that the kernel looks up, and DNS (`flowd.capture.dns`). `conntrack` reads translations
over netlink, separately. Data arrives in ring buffers and maps as records of `flowd_bpf.layout` and
leaves as batches of `flowd.model.records`. Imports `flowd_bpf`, `flowd.model` and
`flowd.runtime.queue`.
"""
