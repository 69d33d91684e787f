"""Sources of all data: connections in the kernel, DNS messages, and Envoy's access logs.

Subpackages: `kernel` (eBPF programs, conntrack, processes), `dns` (DNS payload from the kernel),
`envoy` (access-log service and Envoy's counters), `logs` (access-log files and OTLP logs).
`preflight` implements `flowd check`. A source puts numpy batches of `flowd.model` into a
`flowd.runtime.queue.Queue`, or returns them on request. The package imports `flowd_bpf`,
`flowd.accesslog`, `flowd.model`, `flowd.wire` and `flowd.runtime`; it imports neither the pipeline,
the gateway nor the exporters.
"""
